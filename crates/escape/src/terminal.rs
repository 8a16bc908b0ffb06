//! How things look on a terminal: a little colour where one is there, none where the output goes to a file.

use std::io::IsTerminal;

/// A way of writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// Stands back
    Faint,
    /// Stands out
    Bold,
    /// Good
    Green,
    /// Bad
    Red,
}

/// Standard output.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terminal {
    has_colour: bool,
}

impl Terminal {
    /// Standard output as it is. `NO_COLOR` is honoured.
    pub(crate) fn new() -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { has_colour: std::io::stdout().is_terminal() && !no_color }
    }

    /// Writes one line.
    #[expect(clippy::unused_self, reason = "what is written and how it is painted belong to one terminal")]
    pub(crate) fn line(self, text: &str) {
        println!("{text}");
    }

    /// A text in a style.
    pub(crate) fn paint(self, style: Style, text: &str) -> String {
        let code = match style {
            Style::Faint => "2",
            Style::Bold => "1",
            Style::Green => "32",
            Style::Red => "31",
        };
        if self.has_colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// Text of tools and models without what would steer the terminal: control characters become visible.
pub(crate) fn tame(text: &str) -> String {
    let tamed = text
        .chars()
        .map(|char| if char.is_control() && char != '\n' && char != '\t' { '\u{fffd}' } else { char });
    tamed.collect()
}
