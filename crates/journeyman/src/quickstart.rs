//! `quickstart`: from nothing to an agent that has done a real task, through the server's own HTTP API.

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use serde_json::json;
use tokio::net::TcpListener;

use crate::choice;
use crate::cli::Quickstart;
use crate::client;
use crate::client::Client;
use crate::client::Made;
use crate::client::Task;
use crate::config::Config;
use crate::environment::Environment;
use crate::keys;
use crate::serve;
use crate::serve::Running;
use crate::terminal::Output;
use crate::terminal::Style;
use crate::terminal::Terminal;
use crate::transcript;
use crate::transcript::End;
use crate::transcript::Transcript;

const TASK: &str = "Write a Python script that computes the first 20 Fibonacci numbers, one per line, into the file \
                    fibonacci.txt. Run it, and show the file with cat.";
const SYSTEM: &str =
    "You are a careful programmer. Work in /workspace with your tools, and keep your messages short.";
const NUMBERS: usize = 20;

/// Runs it. Fails when the session did not end well or the file is not what it should be.
pub(crate) async fn run(
    mut config: Config,
    environment: &Environment,
    flags: &Quickstart,
) -> Result<ExitCode> {
    let terminal = Terminal::new(Output::Out, environment.get("NO_COLOR").is_some());
    let chosen = choice::configured(&config.settings, environment, flags.model.as_deref())?;
    let choice = chosen.unwrap_or_else(|| choice::scripted(&mut config.settings));
    let listener = listen(config.settings.server.listen, config.is_default("server.listen")).await?;
    let stop = serve::stop_signal()?;
    let running = serve::start(&config.settings, environment, listener).await?;
    let key = keys::usable(&running, environment, "quickstart").await?;
    let head = |name: &str, text: &str| {
        terminal.line(&format!("{} {text}", terminal.paint(Style::Faint, &format!("{name:<12}"))));
    };
    terminal.line(&terminal.paint(Style::Bold, "Journeyman quickstart"));
    head("server", &running.url);
    head("data", &config.settings.server.data.display().to_string());
    head("model", &choice.told);
    let client = Client::new(&running.url, &key, true)?;
    let task = Task {
        name: "quickstart",
        model: &choice.model,
        system: Some(SYSTEM),
        tools: &[],
        networking: client::unrestricted(),
    };
    let made = client.prepare(&task).await?;
    head("agent", &made.agent);
    head("environment", &made.environment);
    head("session", &made.session);
    terminal.line("");

    let outcome = tokio::select! {
        outcome = play(&client, &made, terminal) => outcome,
        () = stop => Err(anyhow::anyhow!("stopped by a signal")),
    };
    if outcome.is_ok() {
        go_on(terminal, &config, &running, &key, &made, flags.keep);
    }
    if flags.keep && outcome.is_ok() {
        serve::stop_signal()?.await;
    }
    running.end().await?;
    outcome.map(|()| ExitCode::SUCCESS)
}

/// The configured address; another port when the default one is taken.
async fn listen(address: SocketAddr, is_default: bool) -> Result<TcpListener> {
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(listener),
        Err(_) if is_default => {
            TcpListener::bind((address.ip(), 0)).await.with_context(|| format!("listen on {}", address.ip()))
        }
        Err(error) => Err(error).with_context(|| format!("listen on {address}")),
    }
}

/// Sends the task, prints what happens, and judges the end.
async fn play(client: &Client, made: &Made, terminal: Terminal) -> Result<()> {
    let mut events = client.stream(&made.session).await?;
    let mut transcript = Transcript::new(terminal);
    client.message(&made.session, json!([{"type": "text", "text": TASK}])).await?;
    let end = loop {
        let Some(event) = events.next().await? else { bail!("the stream ended before the session did") };
        if let Some(end) = transcript.show(&event) {
            break end;
        }
    };
    if end != End::Idle("end_turn".to_owned()) {
        bail!("the session did not end its turn");
    }
    let Some(file) = transcript.outputs.iter().rev().find_map(|output| fibonacci(output)) else {
        bail!("no tool showed the first {NUMBERS} Fibonacci numbers");
    };
    let session = client.session(&made.session).await?;
    terminal.line("");
    terminal.line(&terminal.paint(Style::Bold, "fibonacci.txt, as the sandbox holds it"));
    terminal.line(&file.join(" "));
    terminal.line("");
    terminal.line(&format!("{} {}", terminal.paint(Style::Bold, "Usage"), transcript::usage(&session)));
    Ok(())
}

/// The first numbers of the sequence, when an output shows them in a row. Both beginnings, 0 and 1, are usual.
fn fibonacci(output: &str) -> Option<Vec<&str>> {
    let shown: Vec<&str> =
        output.split(|char: char| !char.is_ascii_digit()).filter(|word| !word.is_empty()).collect();
    let sequences = [(0_u32, 1_u32), (1, 1)].map(|(first, second)| {
        let steps = std::iter::successors(Some((first, second)), |(a, b)| Some((*b, a + b)));
        steps.take(NUMBERS).map(|(number, _)| number.to_string()).collect::<Vec<_>>()
    });
    let is_there = |window: &&[&str]| sequences.iter().any(|sequence| sequence == window);
    shown.windows(NUMBERS).find(is_there).map(<[&str]>::to_vec)
}

/// What to type next: commands that work as they stand.
fn go_on(terminal: Terminal, config: &Config, running: &Running, key: &str, made: &Made, keeps: bool) {
    let program = std::env::args().next().unwrap_or_else(|| "journeyman".to_owned());
    let (url, session) = (&running.url, &made.session);
    terminal.line("");
    terminal.line(&terminal.paint(Style::Bold, "Go on"));
    if keeps {
        terminal.line("The server is running; Ctrl-C stops it. In another terminal:");
    } else {
        let listen = url.trim_start_matches("http://");
        let data = config.settings.server.data.display();
        terminal.line(&format!(
            "\n  {program} serve --listen {listen} --data {data}\n\nand in another terminal:"
        ));
    }
    terminal.line(&format!(
        "
  export ANTHROPIC_BASE_URL={url} ANTHROPIC_API_KEY={key}

  curl -s \"$ANTHROPIC_BASE_URL/v1/sessions/{session}/events?order=desc\" \\
    -H \"x-api-key: $ANTHROPIC_API_KEY\" -H 'anthropic-beta: {beta}'

  python3 -m venv venv && venv/bin/pip install --quiet anthropic && venv/bin/python - <<'END'
  from anthropic import Anthropic
  for event in Anthropic().beta.sessions.events.list(\"{session}\"):
      print(event.processed_at, event.type)
  END",
        beta = client::BETA,
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_found_wherever_they_are_shown() {
        let from_zero =
            "0\n1\n1\n2\n3\n5\n8\n13\n21\n34\n55\n89\n144\n233\n377\n610\n987\n1597\n2584\n4181\n";
        assert_eq!(fibonacci(from_zero).map(|numbers| numbers.len()), Some(NUMBERS));
        let from_one = from_zero.strip_prefix("0\n").unwrap().to_owned() + "6765";
        assert!(fibonacci(&format!("wrote it:\n{from_one}")).is_some());
        assert!(fibonacci("0 1 1 2 3 5 8").is_none());
        assert!(fibonacci(&from_zero.replace("377", "378")).is_none());
    }
}
