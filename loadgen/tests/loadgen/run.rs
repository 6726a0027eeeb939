//! Runs the binary and keeps what it said.

use std::process::{Command, Output};

/// What a finished run left.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Run {
    /// Fails with everything that was said.
    #[track_caller]
    pub(crate) fn expect(self, code: i32, contains: &[&str]) -> Self {
        assert_eq!(self.code, code, "{}\n{}", self.out, self.err);
        for text in contains {
            assert!(
                self.out.contains(text) || self.err.contains(text),
                "no {text:?} in\n{}\n{}",
                self.out,
                self.err
            );
        }
        self
    }
}

pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    command.env_remove("BUSBAR_TOKEN");
    command
}

pub(crate) async fn loadgen(args: Vec<String>) -> Run {
    let output: Output =
        tokio::task::spawn_blocking(move || command().args(args).output().unwrap()).await.unwrap();
    Run {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The words of a command line.
pub(crate) fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}
