//! How things look on a terminal: a little colour where one is there, none where the output goes to a file.

use std::io::IsTerminal;

/// Where the text goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// Standard output
    Out,
    /// Standard error
    Err,
}

/// A way of writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// As it is
    Plain,
    /// Stands back
    Faint,
    /// Stands out
    Bold,
    /// Good
    Green,
    /// Bad
    Red,
    /// Somebody who acts
    Cyan,
}

/// Writes lines to one of the two outputs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terminal {
    output: Output,
    has_colour: bool,
}

impl Terminal {
    /// A terminal on one output. `NO_COLOR` is honoured.
    pub(crate) fn new(output: Output, no_color: bool) -> Self {
        let is_terminal = match output {
            Output::Out => std::io::stdout().is_terminal(),
            Output::Err => std::io::stderr().is_terminal(),
        };
        Self { output, has_colour: is_terminal && !no_color }
    }

    /// Writes one line.
    pub(crate) fn line(self, text: &str) {
        match self.output {
            Output::Out => println!("{text}"),
            Output::Err => eprintln!("{text}"),
        }
    }

    /// A text in a style.
    pub(crate) fn paint(self, style: Style, text: &str) -> String {
        let code = match style {
            Style::Plain => return text.to_owned(),
            Style::Faint => "2",
            Style::Bold => "1",
            Style::Green => "32",
            Style::Red => "31",
            Style::Cyan => "36",
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
