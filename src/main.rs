//! The program: reads the command line, carries it out, tells what went wrong.

use clap::Parser;
use pgxc_lab::{
    cli::{Arguments, Verb},
    commands,
    error::{Class, Error, Result},
    host, snapshot, ui,
};
use std::io::Write;

fn main() {
    let arguments = Arguments::parse();
    let code = run(&arguments).unwrap_or_else(|error| {
        ui::print_error(&error);
        error.class().exit_code()
    });
    end(code);
}

/// Ends the process without the exit handlers of C libraries: libvirt brings OpenSSL, whose handler frees memory that
/// threads of the runtime, which may just be ending too, still free themselves (seen as an abort once in fifty runs).
fn end(code: u8) -> ! {
    // Nobody is left to be told when the last words cannot be written.
    let _ = std::io::stdout().flush();
    signal_hook::low_level::exit(code.into())
}

fn run(arguments: &Arguments) -> Result<u8> {
    if let Verb::InternalHost { directory } = &arguments.verb {
        // Before any thread exists: namespaces are left and entered by the only one.
        return host::hold(directory).map(|()| 0);
    }
    if let Verb::InternalGuardian { directory } = &arguments.verb {
        return snapshot::guardian::watch(directory).map(|()| 0);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Error::caused(Class::Host, "cannot start threads", error))?;
    let outcome = runtime.block_on(commands::run(arguments));
    // A blocked call of a step that was given up must not hold the end of the program.
    runtime.shutdown_background();
    outcome
}
