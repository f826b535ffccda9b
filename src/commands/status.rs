//! `status`: shows nodes and components once, or again and again in place.

use super::run::listen;
use crate::{
    cli::Arguments,
    context::Standing,
    error::{Class, Result},
    status::{self, Status},
};
use std::{io::IsTerminal, time::Duration};
use tokio_util::sync::CancellationToken;

/// How often `--watch` looks.
const EVERY: Duration = Duration::from_secs(2);

/// Shows the lab; the exit code tells whether everything serves.
///
/// # Errors
/// When there is no such lab.
pub async fn run(arguments: &Arguments, watch: bool) -> Result<u8> {
    if !watch {
        let status = status::look(&Standing::find(arguments)?).await?;
        show(arguments, &status)?;
        return Ok(if status.healthy { 0 } else { Class::Cluster.exit_code() });
    }
    let stop = CancellationToken::new();
    let signals = tokio::spawn(listen(stop.clone(), || {}));
    let place = std::io::stdout().is_terminal() && !arguments.json;
    let mut begin = "\x1b[2J";
    loop {
        let status = tokio::select! {
            status = async { status::look(&Standing::find(arguments)?).await } => status?,
            () = stop.cancelled() => break,
        };
        if place {
            let (width, height) = size().unwrap_or((80, 24));
            super::print(&format!("{begin}{}", frame(&status::lines(&status, Some(width)), width, height)))?;
            begin = "";
        } else {
            show(arguments, &status)?;
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = stop.cancelled() => break,
        }
    }
    signals.abort();
    Ok(0)
}

fn show(arguments: &Arguments, status: &Status) -> Result<u8> {
    if arguments.json {
        return super::print_json(status);
    }
    let width = std::io::stdout().is_terminal().then(size).flatten().map(|(width, _)| width);
    super::print(&(status::lines(status, width).join("\n") + "\n"))
}

/// Columns and lines of the terminal, if it is one.
fn size() -> Option<(usize, usize)> {
    let (terminal_size::Width(width), terminal_size::Height(height)) = terminal_size::terminal_size()?;
    Some((width.into(), height.into()))
}

/// A screen drawn over the one before: nothing flickers, no line is wrapped, and none scrolls away.
fn frame(lines: &[String], width: usize, height: usize) -> String {
    // The last line of the screen is the cursor's.
    let room = height.saturating_sub(1).max(1);
    let cut = |line: &String| line.chars().take(width).collect::<String>();
    let mut shown: Vec<String> = lines.iter().take(room).map(cut).collect();
    if lines.len() > room {
        let hidden = lines.len() - room + 1;
        shown[room - 1] = format!("… {hidden} more lines: make the terminal higher");
    }
    format!("\x1b[H{}\x1b[J", shown.iter().map(|line| format!("{line}\x1b[K\r\n")).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_never_scrolls() {
        let lines: Vec<String> = ["first", "second one", "third"].map(str::to_owned).into();
        assert_eq!(frame(&lines, 7, 9), "\x1b[Hfirst\x1b[K\r\nsecond \x1b[K\r\nthird\x1b[K\r\n\x1b[J");
        let small = frame(&lines, 80, 3);
        assert_eq!(small, "\x1b[Hfirst\x1b[K\r\n… 2 more lines: make the terminal higher\x1b[K\r\n\x1b[J");
    }
}
