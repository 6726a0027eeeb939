//! The command line: what can be said, and what is done then.
//!
//! Invariant: results go to standard output, everything else to standard error; the exit code is 0 only when what
//! was asked for was done (1: it failed, 2: it was not understood).

mod asked;
mod backup;
mod erase;
mod progress;
mod quarantine;
mod restore;
mod verify;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::auth::NewToken;
use crate::config::{self, Config, SETTINGS, Setting};
use crate::{allocator, app, health_client, telemetry};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const ABOUT: &str = "Busbar, a time-series-first telemetry engine for buildings";

const EXAMPLES: &str = "\
Examples:
  busbar serve
      Start with defaults: HTTP on 127.0.0.1:8181, MQTT on 127.0.0.1:1883, data in ./busbar-data.
  curl -i 'http://127.0.0.1:8181/write?db=home' --data-binary 'room,name=kitchen temp=21.5'
      Write a point. 204 says that it is on disk.
  curl 'http://127.0.0.1:8181/api/v3/query_sql?db=home&q=SELECT+*+FROM+room'
      Read it back.
  busbar token create --name telegraf
      Make a token; then listening beyond this machine is allowed.
  busbar config print --config busbar.toml
      Show every key, what it does and what it is now.

Every key of the configuration file is also a variable and a flag; a flag wins over a variable, a variable over
the file: `http.addr`, BUSBAR_HTTP_ADDR, --http-addr.";

/// Runs the program.
#[must_use]
pub fn run() -> ExitCode {
    allocator::settle();
    let matches = command().get_matches();
    match dispatch(&matches) {
        Ok(code) => code,
        Err(error) => {
            // Nothing is left to tell when standard error is closed.
            drop(writeln!(io::stderr(), "busbar: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// The whole command line.
#[must_use]
pub fn command() -> Command {
    let serve = with_settings(Command::new("serve").about("Start the engine; SIGTERM stops it in order"));
    let check = with_settings(Command::new("check").about("Say whether `serve` would start with this"));
    let print =
        with_settings(Command::new("print").about("Print every key with its value, secrets redacted"));
    let name =
        Arg::new("name").long("name").value_name("NAME").required(true).help("Names the holder in logs");
    let create = Command::new("create")
        .about("Make a token: print it once, and what the configuration keeps of it")
        .arg(name);
    let url = Arg::new("url").long("url").value_name("URL").help(
        "The engine to ask, such as http://127.0.0.1:8181 [default: where the configuration says it listens]",
    );
    let health =
        with_settings(Command::new("health").about("Ask a running engine how it is; 0 if it is well"));
    Command::new("busbar")
        .about(ABOUT)
        .version(env!("CARGO_PKG_VERSION"))
        .after_help(EXAMPLES)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(serve)
        .subcommand(
            Command::new("config")
                .about("Check or print the configuration")
                .subcommand_required(true)
                .subcommands([check, print]),
        )
        .subcommand(Command::new("token").about("Tokens").subcommand_required(true).subcommand(create))
        .subcommand(health.arg(url))
        .subcommand(verify::command())
        .subcommand(backup::command())
        .subcommand(restore::command())
        .subcommand(erase::command())
        .subcommand(quarantine::command())
}

fn with_settings(command: Command) -> Command {
    let file = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .value_parser(clap::value_parser!(PathBuf))
        .help("The configuration, a TOML file [env: BUSBAR_CONFIG] [default: none]");
    let flag = |setting: &Setting| {
        let arg =
            Arg::new(setting.key).long(setting.flag).value_name(setting.placeholder).help(setting.long_help);
        match setting.is_switch {
            true => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
            false => arg,
        }
        .action(ArgAction::Set)
    };
    command.arg(file).args(SETTINGS.iter().map(flag)).after_help(
        "Sizes are written 64MiB or 25MB, spans of time 30s, 10m or 1h. Lists (tokens, mqtt.mappings, rules, \
         webhooks) are written in the file.",
    )
}

fn dispatch(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    match matches.subcommand() {
        Some(("serve", matches)) => serve(load(matches)?),
        Some(("health", matches)) => health(matches),
        Some(("verify", matches)) => verify::run(matches),
        Some(("backup", matches)) => backup::run(matches),
        Some(("restore", matches)) => restore::run(matches),
        Some(("erase", matches)) => erase::run(matches),
        Some(("quarantine", matches)) => quarantine::run(matches),
        Some(("config", matches)) => match matches.subcommand() {
            Some(("print", matches)) => print(&config::render(&load(matches)?)),
            Some((_, matches)) => {
                let config = load(matches)?;
                config.check_exposure()?;
                config.check_resources()?;
                print("the configuration is good\n")
            }
            None => Ok(ExitCode::from(2)),
        },
        Some(("token", matches)) => match matches.subcommand() {
            Some((_, matches)) => create_token(matches.get_one::<String>("name").map_or("", String::as_str)),
            None => Ok(ExitCode::from(2)),
        },
        _ => Ok(ExitCode::from(2)),
    }
}

fn load(matches: &ArgMatches) -> Result<Config, Failure> {
    let variable = |name: &str| std::env::var(name).ok();
    let by_variable = || variable("BUSBAR_CONFIG").filter(|text| !text.is_empty()).map(PathBuf::from);
    let file = matches.get_one::<PathBuf>("config").cloned().or_else(by_variable);
    let flag = |setting: &Setting| matches.get_one::<String>(setting.key).cloned();
    Ok(config::load(file.as_deref(), variable, flag)?)
}

fn serve(config: Config) -> Result<ExitCode, Failure> {
    telemetry::start(&config.logging)?;
    #[cfg(feature = "failpoints")]
    crate::failpoints::arm()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("busbar").build()?;
    runtime.block_on(app::serve(config))?;
    Ok(ExitCode::SUCCESS)
}

fn create_token(name: &str) -> Result<ExitCode, Failure> {
    let token = NewToken::create();
    let name = toml::Value::String(name.to_owned());
    print(&format!(
        "The token, shown only now:\n\n    {}\n\nFor the configuration file:\n\n[[tokens]]\nname = {name}\nsha256 = \
         \"{}\"\n",
        token.text(),
        token.hash()
    ))
}

fn health(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let host = match matches.get_one::<String>("url") {
        Some(text) => host(text)?,
        None => health_client::reachable(load(matches)?.http.addr).to_string(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(health_client::ask(&host, "/health"))?;
    print(&format!("{}\n", answer.body.trim_end()))?;
    Ok(if answer.status == 200 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `name:port` of a URL.
fn host(text: &str) -> Result<String, Failure> {
    let url = url::Url::parse(text)?;
    match (url.scheme(), url.host_str(), url.port_or_known_default()) {
        ("http", Some(host), Some(port)) => Ok(format!("{host}:{port}")),
        _ => Err(format!("{text:?} is not an address of the form http://127.0.0.1:8181").into()),
    }
}

fn print(text: &str) -> Result<ExitCode, Failure> {
    io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::{command, host};

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn a_switch_needs_no_value_and_takes_one() {
        let value = |args: &[&str]| {
            let matches = command().try_get_matches_from(args).unwrap();
            let (_, matches) = matches.subcommand().unwrap();
            matches.get_one::<String>("insecure").cloned()
        };
        assert_eq!(value(&["busbar", "serve"]), None);
        assert_eq!(value(&["busbar", "serve", "--insecure"]).as_deref(), Some("true"));
        assert_eq!(value(&["busbar", "serve", "--insecure=false"]).as_deref(), Some("false"));
    }

    #[test]
    fn help_names_flag_variable_and_default_of_every_key() {
        let mut serve = command().find_subcommand("serve").unwrap().clone();
        let help = serve.render_long_help().to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        for setting in crate::config::SETTINGS {
            assert!(help.contains(&format!("--{}", setting.flag)), "{}", setting.key);
            assert!(help.contains(&format!("[env: {}]", setting.variable)), "{}", setting.key);
        }
        assert!(help.contains("[default: \"127.0.0.1:8181\"]"));
    }

    #[test]
    fn only_plain_http_addresses_are_asked() {
        assert_eq!(host("http://localhost:1").unwrap(), "localhost:1");
        assert_eq!(host("http://[::1]").unwrap(), "[::1]:80");
        assert!(host("https://localhost").is_err());
        assert!(host("localhost:8181").is_err());
    }
}
