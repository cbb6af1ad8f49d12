//! `holdfast connect`: an interactive client. Lines of standard input become messages, frames become lines.
//!
//! [`dial`] opens the socket, [`driver`] moves bytes, [`session`] decides what a line means and how a frame looks.

mod dial;
mod driver;
mod session;

use std::path::PathBuf;

use clap::Args;

use crate::args::Global;
use crate::exit::Outcome;

const AFTER_HELP: &str = "\
Lines you type:
  /join ROOM               /leave ROOM
  /send TO DATA            a message to the domain service: /send message.new {\"text\":\"hello\"}
  /request TO DATA         the same with an answer
  /ack ID…   /ping   /auth TOKEN   /quit   /help
  {\"type\":\"join\",\"id\":\"a\",\"room\":\"chat/5\"}     any JSON goes as it is
DATA is JSON if it parses, else text; ids are numbered for you.

Examples:
  holdfast connect ws://127.0.0.1:8080/ws/chat --token \"$TOKEN\"
  holdfast connect wss://127.0.0.1:8443/ws/chat --token \"$TOKEN\" --ca dev-ca.pem
  printf '/join chat/5\\n/send message.new hello\\n' | holdfast connect \"$URL\" --token \"$TOKEN\" --stay
  holdfast connect 'ws://127.0.0.1:8080/notifications?userId=123' --bare     (profile dev)

At the end of input it waits up to 5 s for what is still unanswered, then closes; --stay goes on listening.
Exit status 0 after a normal close, 1 when refused or closed by the gateway with any other code.";

/// What `connect` is told.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct ConnectArgs {
    /// ws://… or wss://…
    url: String,
    /// The client's token, sent as `Authorization: Bearer`.
    #[arg(long, env = "HOLDFAST_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Send the token in the first message, as a browser does.
    #[arg(long, requires = "token")]
    first_message: bool,
    /// The device, in the first message.
    #[arg(long, requires = "first_message")]
    device: Option<String>,
    /// Speak dialect bare: lines go as they are, payloads come as they are.
    #[arg(long, conflicts_with = "first_message")]
    bare: bool,
    /// Trust this certificate authority (PEM) as well.
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    ca: Option<PathBuf>,
    /// Do not check the server's certificate: for development only.
    #[arg(long)]
    insecure: bool,
    /// Go on listening when the input ends.
    #[arg(long)]
    stay: bool,
    /// End after that many messages.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

/// Connects, and runs until either side ends it.
pub(crate) async fn run(global: &Global, args: ConnectArgs) -> Outcome {
    let (reader, writer) = dial::open(&args).await?;
    driver::run(global, &args, reader, writer).await
}
