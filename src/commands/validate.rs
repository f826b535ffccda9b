//! `validate`: every problem of lab.yaml at once; nothing is touched.

use crate::{
    cli::Arguments,
    config,
    error::{Class, Result},
};

/// Checks lab.yaml.
///
/// # Errors
/// When it has problems.
pub fn run(arguments: &Arguments) -> Result<u8> {
    match config::load(&arguments.file()) {
        Ok(loaded) if arguments.json => super::print_json(&serde_json::json!({ "valid": true, "lab": loaded.lab })),
        Ok(loaded) => {
            eprintln!(
                "`{}` is valid: lab `{}`, {} nodes",
                arguments.file().display(),
                loaded.lab.name,
                loaded.lab.nodes.len()
            );
            Ok(0)
        }
        Err(problems) if arguments.json => {
            super::print_json(&serde_json::json!({ "valid": false, "problems": problems.list() }))?;
            Ok(Class::LabFile.exit_code())
        }
        Err(problems) => Err(problems.into_error()),
    }
}
