//! The live screen: the board's lines, drawn in place by indicatif. The only file that knows indicatif.

use super::{
    Colours, Screen,
    board::{Board, Fact},
    say,
};
use crate::event::Event;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::Duration;

/// A bar per line of the board; a bar is nothing but its message, which indicatif cuts at the terminal's width.
pub(super) struct Live {
    board: Board,
    bars: Vec<ProgressBar>,
    multi: MultiProgress,
    style: ProgressStyle,
    colours: Colours,
}

impl Live {
    /// On stderr.
    pub(super) fn new() -> Live {
        Live {
            board: Board::default(),
            bars: Vec::new(),
            multi: MultiProgress::with_draw_target(ProgressDrawTarget::stderr()),
            style: ProgressStyle::with_template("{wide_msg}").expect("the template is a constant that was tested"),
            colours: Colours::of_stderr(),
        }
    }

    fn draw(&mut self, at: Duration) {
        let lines = self.board.lines(at);
        while self.bars.len() > lines.len() {
            if let Some(bar) = self.bars.pop() {
                bar.finish_and_clear();
                self.multi.remove(&bar);
            }
        }
        while self.bars.len() < lines.len() {
            self.bars.push(self.multi.add(ProgressBar::no_length().with_style(self.style.clone())));
        }
        for (bar, line) in self.bars.iter().zip(lines) {
            // Every message is a redraw of the whole screen: only what changed is told.
            if bar.message() != line {
                bar.set_message(line);
            }
        }
    }
}

impl Screen for Live {
    fn event(&mut self, at: Duration, event: &Event) {
        let Some(fact) = self.board.event(at, event) else { return };
        let line = match fact {
            Fact::Done(text) => text,
            Fact::Failed(text) => self.colours.red(&text),
        };
        // indicatif says nothing when it believes that nobody watches.
        if self.multi.is_hidden() || self.multi.println(&line).is_err() {
            say(&line);
        }
    }

    fn tick(&mut self, at: Duration) {
        self.draw(at);
    }

    fn close(&mut self) {
        // A terminal that is gone has nothing to be cleared.
        let _ = self.multi.clear();
        // Each bar that ends would draw all others once more.
        self.multi.set_draw_target(ProgressDrawTarget::hidden());
        self.bars.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_follow_the_boards_lines() {
        let mut live = Live::new();
        live.multi.set_draw_target(ProgressDrawTarget::hidden());
        for (at, event) in super::super::plain::tests::run().iter().take(8) {
            live.event(Duration::from_millis(*at), event);
            live.tick(Duration::from_millis(*at));
        }
        let messages: Vec<String> = live.bars.iter().map(ProgressBar::message).collect();
        assert_eq!(messages, live.board.lines(Duration::from_millis(12_000)));
        live.close();
        assert!(live.bars.is_empty());
    }
}
