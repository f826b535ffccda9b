//! The program: reads the command line, carries it out, tells what went wrong.

use clap::Parser;
use pgxc_lab::{
    cli::{Arguments, Verb},
    commands,
    error::{Class, Error, Result},
    host, ui,
};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            ui::print_error(&error);
            ExitCode::from(error.class().exit_code())
        }
    }
}

fn run(arguments: &Arguments) -> Result<u8> {
    if let Verb::InternalHost { directory } = &arguments.verb {
        // Before any thread exists: namespaces are left and entered by the only one.
        return host::hold(directory).map(|()| 0);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Error::caused(Class::Host, "cannot start threads", error))?;
    let outcome = runtime.block_on(commands::run(arguments));
    // A blocked call of a step that was given up must not hold the end of the program.
    runtime.shutdown_background();
    outcome
}
