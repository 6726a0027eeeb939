//! The façade: what the composition root and the routes use.
//!
//! Order of life: [`Alerting::open`] (reads streams and log; may take a while, so call it where blocking is
//! allowed), [`Alerting::start`], [`Alerting::stop`]. Dropping it without `stop` is a crash: nothing is lost,
//! the next start replays.
//!
//! Invariants: rules of the configuration are put in force at every open and belong to it; other rules are
//! durable when [`Alerting::put_rule`] returns; both threads have ended when `stop` or `drop` has returned.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use storage::model::Timestamp;
use storage::stream::{FrozenStream, StreamOptions};
use tokio::sync::{mpsc, oneshot, watch};

use crate::engine::{Command, Engine, RuleSet, Shared};
use crate::error::{Error, Result};
use crate::history::History;
use crate::limits;
use crate::metrics::Metrics;
use crate::notify::{Notifier, RetryPolicy, Stop, WebhookConfig};
use crate::record::{RuleChange, Transition};
use crate::rule::{Fault, Faults, Origin, RuleSpec, StoredRule};
use crate::source::Source;

/// Reads the wall clock.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What alerting needs to know.
#[derive(Clone)]
pub struct AlertingConfig {
    /// The folder for its streams: `alerts`, `notifications`, `rule-state`.
    pub folder: PathBuf,
    /// Rules of the configuration file.
    pub rules: Vec<RuleSpec>,
    /// Receivers that rules may name.
    pub webhooks: Vec<WebhookConfig>,
    /// How long alerts and outcomes of notifications are kept.
    pub retention: StreamOptions,
    /// How often the state is snapshotted.
    pub snapshot_interval: Duration,
    /// When failed deliveries are tried again.
    pub retry: RetryPolicy,
    /// The wall clock; tests set their own.
    pub clock: Clock,
}

impl AlertingConfig {
    /// The defaults, with streams in this folder.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            rules: Vec::new(),
            webhooks: Vec::new(),
            retention: StreamOptions::default(),
            snapshot_interval: limits::SNAPSHOT_INTERVAL,
            retry: RetryPolicy::default(),
            clock: Arc::new(storage::clock::now),
        }
    }
}

impl fmt::Debug for AlertingConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AlertingConfig").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// What a caller expects of the rule that it changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Anything.
    Any,
    /// That there is no such rule.
    Absent,
    /// That it is at this version.
    Version(u64),
}

impl Expect {
    /// Whether a change of the rule `name`, which is stored as `found`, may go on.
    pub(crate) fn check(self, name: &str, found: Option<&StoredRule>) -> Result<()> {
        if found.is_some_and(|rule| rule.origin == Origin::Config) {
            return Err(Error::ReadOnly(name.to_owned()));
        }
        let current = found.map(|rule| rule.version);
        let met = match self {
            Self::Any => true,
            Self::Absent => current.is_none(),
            Self::Version(version) => current == Some(version),
        };
        if met { Ok(()) } else { Err(Error::Conflict { current }) }
    }
}

/// The version of a rule's next form.
pub(crate) fn next_version(before: Option<&StoredRule>) -> u64 {
    before.map_or(1, |rule| rule.version + 1)
}

/// What [`Alerting::put_rule`] did.
#[derive(Debug, Clone)]
pub struct Put {
    /// Whether the rule is new.
    pub created: bool,
    /// The rule now.
    pub rule: Arc<StoredRule>,
}

/// Alerting, open.
pub struct Alerting {
    shared: Shared,
    commands: Mutex<Option<mpsc::Sender<Command>>>,
    /// The engine, until `start`.
    engine: Mutex<Option<(Engine, mpsc::Receiver<Command>)>>,
    snapshot_interval: Duration,
    stop_notifier: watch::Sender<Stop>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl fmt::Debug for Alerting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Alerting").field("metrics", &self.shared.metrics).finish_non_exhaustive()
    }
}

impl Alerting {
    /// Opens the streams, replays what the newest snapshot lacks, and puts the configuration's rules in force.
    /// Blocks.
    ///
    /// # Errors
    /// [`Error::Rule`] or [`Error::Invalid`] for the configuration; [`Error::Damaged`] and [`Error::Storage`]
    /// for streams and log.
    pub fn open(config: AlertingConfig, source: Arc<dyn Source>) -> Result<Self> {
        let metrics = Arc::<Metrics>::default();
        let AlertingConfig { folder, webhooks, retention, retry, clock, .. } = config;
        let services = (retry, Arc::clone(&clock), Arc::clone(&metrics));
        let notifier = Arc::new(Notifier::open(&folder, retention, webhooks, services)?);
        let wanted = check_rules(&config.rules, &notifier)?;
        let shared = Shared {
            source,
            clock,
            metrics,
            history: Arc::default(),
            notifier,
            rules: Arc::new(RwLock::new(Arc::new(RuleSet::default()))),
            live: Arc::default(),
            abandoned: Arc::new(AtomicBool::new(false)),
        };
        let mut engine = Engine::open(&folder, retention, shared.clone())?;
        let changes = config_changes(&shared.rules.read(), wanted);
        if !changes.is_empty() {
            engine.change_rules(changes)?;
        }
        engine.snapshot()?;
        let (sender, receiver) = mpsc::channel(limits::COMMANDS);
        Ok(Self {
            shared,
            commands: Mutex::new(Some(sender)),
            engine: Mutex::new(Some((engine, receiver))),
            snapshot_interval: config.snapshot_interval,
            stop_notifier: watch::Sender::new(Stop::No),
            threads: Mutex::default(),
        })
    }

    /// Begins to take groups and to notify. A second call does nothing.
    ///
    /// # Errors
    /// [`Error::Internal`] when the machine gives no thread.
    pub fn start(&self) -> Result<()> {
        let Some((engine, commands)) = self.engine.lock().take() else { return Ok(()) };
        let interval = self.snapshot_interval;
        let rules = spawn("busbar-rules", move || engine.run(commands, interval))?;
        let (notifier, stop) = (Arc::clone(&self.shared.notifier), self.stop_notifier.subscribe());
        let notify = spawn("busbar-notify", move || notifier.run(stop))?;
        self.threads.lock().extend([rules, notify]);
        Ok(())
    }

    /// Takes what the tap holds, snapshots, lets requests in flight end, and ends. Close the tap before, so that
    /// nothing is left for the next start to replay. A second call does nothing.
    ///
    /// # Errors
    /// When the last transitions or the snapshot could not be written; the next start replays them.
    pub async fn stop(&self) -> Result<()> {
        let Some(commands) = self.commands.lock().take() else { return Ok(()) };
        let idle = self.engine.lock().take();
        let result = if let Some((mut engine, _)) = idle {
            engine.snapshot()
        } else {
            let (reply, answer) = oneshot::channel();
            match commands.send(Command::Stop { reply }).await {
                Ok(()) => answer.await.unwrap_or(Err(Error::Stopped)),
                Err(_) => Err(Error::Stopped),
            }
        };
        self.stop_notifier.send_replace(Stop::Drain);
        let threads = std::mem::take(&mut *self.threads.lock());
        let joined = tokio::task::spawn_blocking(move || join(threads)).await;
        if joined.is_err() {
            tracing::error!("a thread of alerting ended with a panic");
        }
        result
    }

    /// The streams as they stand between two groups, for a backup: a copy of them, with a log up to any frame that is
    /// durable afterwards, opens with every transition recorded once.
    ///
    /// # Errors
    /// [`Error::Stopped`]; when a stream's file cannot be opened.
    pub async fn freeze(&self) -> Result<Vec<FrozenStream>> {
        if let Some((engine, _)) = &*self.engine.lock() {
            return engine.freeze();
        }
        let commands = self.commands.lock().clone().ok_or(Error::Stopped)?;
        let (reply, answer) = oneshot::channel();
        commands.send(Command::Freeze { reply }).await.map_err(|_| Error::Stopped)?;
        answer.await.map_err(|_| Error::Stopped)?
    }

    /// All rules, by name.
    #[must_use]
    pub fn rules(&self) -> Vec<Arc<StoredRule>> {
        self.shared.rules.read().all().cloned().collect()
    }

    /// The rule with this name or id.
    #[must_use]
    pub fn rule(&self, name_or_id: &str) -> Option<Arc<StoredRule>> {
        let rules = Arc::clone(&self.shared.rules.read());
        let by_id = || rules.all().find(|stored| stored.rule.id.to_string() == name_or_id);
        rules.by_name(name_or_id).or_else(by_id).cloned()
    }

    /// Makes or replaces the rule with the spec's name; it is durable and in force on return.
    ///
    /// # Errors
    /// [`Error::Rule`] with all faults; [`Error::Conflict`] when `expect` is not met; [`Error::ReadOnly`] for a
    /// rule of the configuration; [`Error::LimitExceeded`] at [`limits::RULES`]; [`Error::Stopped`]; and
    /// [`Error::Storage`], after which the change is not in force.
    pub async fn put_rule(&self, spec: RuleSpec, expect: Expect) -> Result<Put> {
        check_rule(&spec, &self.shared.notifier)?;
        let change = RuleChange::Put { spec: Box::new(spec), version: 0, origin: Origin::Api };
        let changed = self.change(change, expect).await?;
        let rule = changed.after.ok_or_else(|| Error::Internal("a rule that was put is not there".into()))?;
        Ok(Put { created: changed.before.is_none(), rule })
    }

    /// Deletes a rule, by name or id; its live alerts resolve with the reason `rule_deleted`.
    ///
    /// # Errors
    /// [`Error::UnknownRule`]; else as [`put_rule`](Self::put_rule).
    pub async fn delete_rule(&self, name_or_id: &str, expect: Expect) -> Result<Arc<StoredRule>> {
        let unknown = || Error::UnknownRule(name_or_id.to_owned());
        let name = self.rule(name_or_id).ok_or_else(unknown)?.rule.spec.name.clone();
        let changed = self.change(RuleChange::Delete { name }, expect).await?;
        changed.before.ok_or_else(unknown)
    }

    /// The recorded transitions: the rows of `alerts.history`.
    #[must_use]
    pub fn history(&self) -> &Arc<History> {
        &self.shared.history
    }

    /// The firings that have not resolved, in no order.
    #[must_use]
    pub fn firing(&self) -> Vec<Arc<Transition>> {
        self.shared.live.read().clone()
    }

    /// The counters.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.shared.metrics
    }

    async fn change(&self, change: RuleChange, expect: Expect) -> Result<crate::engine::Changed> {
        let commands = self.commands.lock().clone().ok_or(Error::Stopped)?;
        let (reply, answer) = oneshot::channel();
        commands.send(Command::Change { change, expect, reply }).await.map_err(|_| Error::Stopped)?;
        answer.await.map_err(|_| Error::Stopped)?
    }
}

impl Drop for Alerting {
    fn drop(&mut self) {
        self.shared.abandoned.store(true, Ordering::Relaxed);
        drop(self.commands.lock().take());
        self.stop_notifier.send_replace(Stop::Now);
        join(std::mem::take(&mut *self.threads.lock()));
    }
}

fn join(threads: Vec<JoinHandle<()>>) {
    for thread in threads {
        if thread.join().is_err() {
            tracing::error!("a thread of alerting ended with a panic");
        }
    }
}

/// Runs a future to its end on a thread with a runtime of its own.
fn spawn<F: Future<Output = ()>>(
    name: &str,
    work: impl FnOnce() -> F + Send + 'static,
) -> Result<JoinHandle<()>> {
    let failed = |error: std::io::Error| Error::Internal(format!("thread {name}: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let run = move || {
        runtime.block_on(work());
        // A name that is being resolved must not hold up the end.
        runtime.shutdown_background();
    };
    std::thread::Builder::new().name(name.to_owned()).spawn(run).map_err(failed)
}

fn check_rule(spec: &RuleSpec, notifier: &Notifier) -> Result<()> {
    let mut faults = spec.validate().err().map(|faults| faults.0).unwrap_or_default();
    for (i, receiver) in spec.webhooks.iter().enumerate() {
        let pointer = format!("/webhooks/{i}");
        if faults.iter().all(|fault| fault.pointer != pointer)
            && let Err(detail) = notifier.check_receiver(receiver)
        {
            faults.push(Fault { pointer, detail });
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(Faults(faults).into()) }
}

/// The configuration's rules, checked; all faults of all rules at once.
fn check_rules<'a>(specs: &'a [RuleSpec], notifier: &Notifier) -> Result<&'a [RuleSpec]> {
    let mut faults = Vec::new();
    if specs.len() > limits::RULES {
        return Err(Error::LimitExceeded(format!("the configuration has more than {} rules", limits::RULES)));
    }
    for (i, spec) in specs.iter().enumerate() {
        let at = |pointer: &str| format!("/rules/{i}{pointer}");
        if let Err(Error::Rule(found)) = check_rule(spec, notifier) {
            faults.extend(found.0.into_iter().map(|f| Fault { pointer: at(&f.pointer), detail: f.detail }));
        }
        if specs.iter().take(i).any(|earlier| earlier.name == spec.name) {
            faults.push(Fault { pointer: at("/name"), detail: format!("{:?} is used twice", spec.name) });
        }
    }
    if faults.is_empty() { Ok(specs) } else { Err(Faults(faults).into()) }
}

/// What makes the configuration's rules those in `wanted`. A rule of another owner with such a name is taken
/// over.
fn config_changes(current: &RuleSet, wanted: &[RuleSpec]) -> Vec<RuleChange> {
    let gone = current.all().filter(|stored| {
        let named = wanted.iter().any(|spec| spec.name == stored.rule.spec.name);
        stored.origin == Origin::Config && !named
    });
    let deletes = gone.map(|stored| RuleChange::Delete { name: stored.rule.spec.name.clone() });
    let differs = |spec: &&RuleSpec| {
        current.by_name(&spec.name).is_none_or(|s| s.rule.spec != **spec || s.origin != Origin::Config)
    };
    let puts = wanted.iter().filter(differs).map(|spec| RuleChange::Put {
        version: next_version(current.by_name(&spec.name).map(|s| &**s)),
        spec: Box::new(spec.clone()),
        origin: Origin::Config,
    });
    deletes.chain(puts).collect()
}
