//! A server as a process of its own.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use storage::clock;
use sysinfo::{Pid, ProcessesToUpdate, Signal, System};

use crate::error::{Error, Result};
use crate::usage::Usage;

/// How long a server may take to end in order: it writes what it has in memory.
const ENDING: Duration = Duration::from_secs(300);

/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A server that does nothing any more uses less than this in [`QUIET_FOR`].
const QUIET: Duration = Duration::from_millis(20);

/// So long a server must do nothing.
const QUIET_FOR: Duration = Duration::from_secs(2);

/// A running process. Dropped, it is killed.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    usage: Usage,
}

impl Process {
    /// Starts `command`, whose words go to `log`.
    pub(super) fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let words = File::create(log)?;
        let child = command.stdin(Stdio::null()).stdout(words.try_clone()?).stderr(words).spawn()?;
        let usage = Usage::of(child.id());
        Ok(Self { child, usage })
    }

    /// Its number.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it uses.
    pub(super) fn usage(&self) -> &Usage {
        &self.usage
    }

    /// Waits until it does nothing any more, at most for `patience`.
    pub(super) async fn quiet(&self, patience: Duration) -> Result<()> {
        let begun = clock::instant();
        let mut before = self.usage.processor_time()?;
        while clock::instant().duration_since(begun) < patience {
            tokio::time::sleep(QUIET_FOR).await;
            let now = self.usage.processor_time()?;
            if now.saturating_sub(before) < QUIET {
                break;
            }
            before = now;
        }
        Ok(())
    }

    /// Asks it to end, and gives the processor time that it has used in its life.
    pub(super) async fn stop(mut self) -> Result<Duration> {
        let (id, mut system) = (Pid::from_u32(self.child.id()), System::new());
        system.refresh_processes(ProcessesToUpdate::Some(&[id]), false);
        if system.process(id).and_then(|process| process.kill_with(Signal::Term)) != Some(true) {
            return Err(Error::Peer("a server could not be asked to end".to_owned()));
        }
        let begun = clock::instant();
        while !self.usage.has_ended()? {
            if clock::instant().duration_since(begun) > ENDING {
                return Err(Error::Peer(format!("a server did not end within {} s", ENDING.as_secs())));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let used = self.usage.processor_time()?;
        self.child.wait()?;
        Ok(used)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.child.kill();
        let _waited = self.child.wait();
    }
}
