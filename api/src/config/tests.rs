//! The order of sources, the errors, the printed form and the shipped example.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{ByteSize, Config, ConfigError, SETTINGS, Span, Token, load, render};
use crate::auth::TokenHash;

const HASH: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

/// Loads from a file's text, variables and flags.
fn loaded(
    file: Option<&str>,
    variables: &[(&str, &str)],
    flags: &[(&str, &str)],
) -> Result<Config, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    let path = file.map(|text| {
        let path = folder.path().join("busbar.toml");
        std::fs::write(&path, text).unwrap();
        path
    });
    let table = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let (variables, flags) = (table(variables), table(flags));
    load(path.as_deref(), |name| variables.get(name).cloned(), |setting| flags.get(setting.flag).cloned())
}

fn message(file: Option<&str>, variables: &[(&str, &str)], flags: &[(&str, &str)]) -> String {
    loaded(file, variables, flags).unwrap_err().to_string()
}

#[test]
fn a_flag_wins_over_a_variable_and_a_variable_over_the_file() {
    let file = Some("[http]\naddr = \"127.0.0.1:1\"");
    let variable: &[(&str, &str)] = &[("BUSBAR_HTTP_ADDR", "127.0.0.1:2")];
    let flag: &[(&str, &str)] = &[("http-addr", "127.0.0.1:3")];
    let port = |file, variables, flags| loaded(file, variables, flags).unwrap().http.addr.port();
    let rows: [(Option<&str>, &[_], &[_], u16); 8] = [
        (None, &[], &[], 8181),
        (file, &[], &[], 1),
        (None, variable, &[], 2),
        (file, variable, &[], 2),
        (None, &[], flag, 3),
        (file, &[], flag, 3),
        (None, variable, flag, 3),
        (file, variable, flag, 3),
    ];
    for (file, variables, flags, expected) in rows {
        assert_eq!(port(file, variables, flags), expected, "{file:?} {variables:?} {flags:?}");
    }
}

#[test]
fn an_empty_variable_counts_as_absent() {
    assert_eq!(loaded(None, &[("BUSBAR_HTTP_ADDR", "")], &[]).unwrap(), Config::default());
}

#[test]
fn every_key_can_be_set_by_variable_and_by_flag() {
    for setting in SETTINGS {
        let other = match setting.placeholder {
            "DIR" | "FILE" => "/elsewhere",
            // Without a store that others reach too it is refused.
            "BOOL" if setting.key == "cluster.shared" => continue,
            "BOOL" => {
                if setting.default == "true" {
                    "false"
                } else {
                    "true"
                }
            }
            "IP:PORT" => "127.0.0.1:9",
            "COUNT" => "7",
            "SIZE" if setting.key == "disk.max_bytes" => "100GiB",
            "SIZE" => "100MiB",
            "URL" | "NAME" | "ID" => "other",
            "SPAN" if setting.key == "compaction.keep_replaced" => "7days",
            "SPAN" => "7s",
            "PERIOD" => "90days",
            "SIZE|auto" if setting.key == "memory.max_bytes" => "4GiB",
            "SIZE|auto" => "100MiB",
            "strict|salvage" => "salvage",
            "text|json" => "json",
            "FILTER" => "debug",
            "NAME=SHA256,..." => &format!("a={HASH}, b={HASH}"),
            unknown => panic!("no other value for {unknown}"),
        };
        // The budgets that must not be below what they hold.
        let room = [("BUSBAR_MEMORY_MAX_BYTES", "8GiB"), ("BUSBAR_WRITE_MEMTABLE_BYTES", "1GiB")];
        let base = loaded(None, &room, &[]).unwrap();
        let by_variable = loaded(None, &[room[0], room[1], (setting.variable, other)], &[]);
        let by_flag = loaded(None, &room, &[(setting.flag, other)]);
        let (by_variable, by_flag) = (by_variable.unwrap(), by_flag.unwrap());
        assert_ne!(by_flag, base, "{}", setting.key);
        if room.iter().all(|(variable, _)| *variable != setting.variable) {
            assert_eq!(by_variable, by_flag, "{}", setting.key);
        }
    }
}

#[test]
fn variable_flag_and_default_follow_from_the_key() {
    for setting in SETTINGS {
        assert_eq!(setting.variable, format!("BUSBAR_{}", setting.key.replace('.', "_").to_uppercase()));
        assert_eq!(setting.flag, setting.key.replace(['.', '_'], "-"));
        if let Some(value) = (setting.get)(&Config::default()) {
            assert_eq!(value, setting.default, "{}", setting.key);
        }
    }
}

#[test]
fn a_wrong_value_is_an_error_that_names_where_it_stands() {
    let check = |message: String, parts: &[&str]| {
        for part in parts {
            assert!(message.contains(part), "{message:?} lacks {part:?}");
        }
    };
    check(message(Some("htp = 1"), &[], &[]), &["busbar.toml", "unknown field `htp`", "`http`", "line 1"]);
    check(
        message(Some("[http]\nadr = 1"), &[], &[]),
        &["unknown field `adr`", "expected one of", "`addr`", "line 2"],
    );
    check(message(Some("[flush]\nage = \"soon\""), &[], &[]), &["line 2", "\"soon\" is not a span of time"]);
    check(message(Some("[flush]\nbytes = -1"), &[], &[]), &["line 2", "must not be negative"]);
    check(
        message(Some("[[tokens]]\nname = \"a\"\nsha256 = \"12\""), &[], &[]),
        &["line 3", "64 hexadecimal digits"],
    );
    check(message(None, &[("BUSBAR_HTTP_ADDR", "localhost")], &[]), &["BUSBAR_HTTP_ADDR:", "write IP:PORT"]);
    check(message(None, &[], &[("flush-bytes", "lots")]), &["--flush-bytes:", "\"lots\" is not a size"]);
    check(message(None, &[], &[("insecure", "yes")]), &["--insecure:", "neither true nor false"]);
    check(message(None, &[("BUSBAR_TOKENS", "abc")], &[]), &["BUSBAR_TOKENS:", "NAME=SHA256"]);
    let absent = load(Some(Path::new("/nowhere/busbar.toml")), |_| None, |_| None).unwrap_err().to_string();
    check(absent, &["cannot read", "/nowhere/busbar.toml"]);
}

#[test]
fn keys_that_do_not_go_together_are_refused() {
    let check = |variables: &[(&str, &str)], part: &str| {
        let message = message(None, variables, &[]);
        assert!(message.contains(part), "{message}");
    };
    check(&[("BUSBAR_LIMITS_BODY_MEMORY", "1MiB")], "raise limits.body_memory");
    check(
        &[("BUSBAR_WRITE_MEMTABLE_BYTES", "1MiB"), ("BUSBAR_FLUSH_BYTES", "2MiB")],
        "raise write.memtable_bytes",
    );
    check(&[("BUSBAR_LOG_SEGMENT_BYTES", "1KiB")], "raise log.segment_bytes");
    check(&[("BUSBAR_HTTP_CONNECTIONS", "0")], "http.connections must be at least 1");
    check(&[("BUSBAR_COMPACTION_CPU_PERCENT", "0")], "choose a number from 1 to 100");
    check(&[("BUSBAR_COMPACTION_KEEP_REPLACED", "1m")], "raise compaction.keep_replaced");
    check(&[("BUSBAR_CLUSTER_SHARED", "true")], "set store.url");
    check(&[("BUSBAR_CLUSTER_REFRESH", "0s")], "cluster.refresh is 0");
    check(&[("BUSBAR_TOKENS", &format!("a={HASH},a={HASH}"))], "two tokens are called \"a\"");
    check(&[("BUSBAR_TOKENS", &format!("={HASH}"))], "a token must have a name");
}

#[test]
fn a_listener_that_others_reach_needs_a_token_or_a_word() {
    let check = |variables: &[(&str, &str)], allowed: bool| {
        let result = loaded(None, variables, &[]).unwrap().check_exposure();
        assert_eq!(result.is_ok(), allowed, "{variables:?}: {result:?}");
    };
    let token = format!("a={HASH}");
    check(&[], true);
    check(&[("BUSBAR_HTTP_ADDR", "[::1]:1")], true);
    check(&[("BUSBAR_HTTP_ADDR", "[::ffff:127.0.0.1]:1")], true);
    check(&[("BUSBAR_HTTP_ADDR", "0.0.0.0:8181")], false);
    check(&[("BUSBAR_HTTP_ADDR", "[::]:8181")], false);
    check(&[("BUSBAR_HTTP_ADDR", "192.168.1.1:8181")], false);
    check(&[("BUSBAR_MQTT_ADDR", "0.0.0.0:1883")], false);
    check(&[("BUSBAR_HTTP_ADDR", "0.0.0.0:8181"), ("BUSBAR_INSECURE", "true")], true);
    check(&[("BUSBAR_HTTP_ADDR", "0.0.0.0:8181"), ("BUSBAR_TOKENS", &token)], true);
    let error =
        loaded(None, &[("BUSBAR_MQTT_ADDR", "0.0.0.0:1")], &[]).unwrap().check_exposure().unwrap_err();
    let text = error.to_string();
    assert!(text.contains("mqtt.addr = 0.0.0.0:1") && text.contains("--insecure"), "{text}");
}

#[test]
fn sizes_and_spans_read_what_they_display() {
    let size = |text: &str, bytes: usize, shown: &str| {
        let size: ByteSize = text.parse().unwrap();
        assert_eq!((size, size.to_string().as_str()), (ByteSize(bytes), shown));
        assert_eq!(size.to_string().parse::<ByteSize>().unwrap(), size);
    };
    size("0", 0, "0B");
    size("1234", 1_234, "1234B");
    size("64MiB", 64 << 20, "64MiB");
    size("64 mib", 64 << 20, "64MiB");
    size("25MB", 25_000_000, "25MB");
    size("2GiB", 2 << 30, "2GiB");
    for bad in ["", "MiB", "-1", "1.5MiB", "1TB", "99999999999999999999"] {
        assert!(bad.parse::<ByteSize>().is_err(), "{bad}");
    }
    for text in ["30s", "10m", "1h 30m"] {
        assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
    }
}

#[test]
fn what_is_printed_is_the_configuration_again() {
    let config = loaded(Some("data_dir = \"a \\\"b\\\"\"\n[flush]\nage = \"90s\""), &[], &[]).unwrap();
    let printed = render(&config);
    assert_eq!(loaded(Some(&printed), &[], &[]).unwrap(), config, "{printed}");
    for setting in SETTINGS.iter().filter(|setting| setting.default != "none") {
        assert!(printed.contains(setting.variable), "{}", setting.key);
    }
}

#[test]
fn what_is_printed_holds_no_secret() {
    let file = format!(
        "[[tokens]]\nname = \"telegraf\"\nsha256 = \"{HASH}\"\n\
         [[webhooks]]\nname = \"ops\"\nurl = \"https://canary/1\"\nsecret = \"canary\"\n\
         headers = {{ Authorization = \"canary\", plain = \"shown\" }}\nlist = [{{ password = \"canary\" }}]\n\
         urls = [\"canary\"]\n[[mqtt.mappings]]\ntopic = \"a/b\""
    );
    let config = loaded(Some(&file), &[], &[]).unwrap();
    let printed = render(&config);
    assert!(!printed.contains("canary") && !printed.contains(HASH), "{printed}");
    for part in
        ["name = \"telegraf\"", "plain = \"shown\"", "name = \"ops\"", "topic = \"a/b\"", "<redacted>"]
    {
        assert!(printed.contains(part), "{part}: {printed}");
    }
    toml::from_str::<toml::Table>(&printed).unwrap();
    assert!(!format!("{config:?}").contains(HASH), "a debug print tells the hash");
}

#[test]
fn the_shipped_example_is_the_default_and_names_every_key() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deploy/busbar.example.toml");
    let text = std::fs::read_to_string(path).unwrap();
    assert_eq!(loaded(Some(&text), &[], &[]).unwrap(), Config::default());
    let shown: toml::Table = toml::from_str(&text).unwrap();
    for setting in SETTINGS.iter().filter(|setting| setting.default != "none") {
        let mut names = setting.key.split('.');
        let first = names.next().and_then(|name| shown.get(name));
        let found = names.try_fold(first, |section, name| Some(section?.get(name)));
        assert!(found.flatten().is_some(), "the example lacks {}", setting.key);
    }
}

#[test]
fn what_the_shipped_example_shows_in_comments_parses_too() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deploy/busbar.example.toml");
    let text = std::fs::read_to_string(path).unwrap();
    // Prose begins with "# ", keys that are left out with "#".
    let lines: Vec<&str> = text
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.is_empty() && !rest.starts_with(' ') => rest,
            _ => line,
        })
        .collect();
    let lines: Vec<&str> = lines.into_iter().filter(|line| !line.starts_with("rules_file")).collect();
    let config = loaded(Some(&lines.join("\n")), &[], &[]).unwrap();
    assert!(!config.tokens.is_empty() && !config.mqtt.mappings.is_empty());
    let (rules, receivers) = (config.alert_rules().unwrap(), config.receivers().unwrap());
    assert_eq!((rules.len(), receivers.len()), (1, 1));
    assert_eq!(rules[0].webhooks, [receivers[0].name.clone()]);
    assert!(config.topics().unwrap().route("sensors/a/b/state").is_some());
}

#[test]
fn tokens_in_a_variable_are_names_and_hashes() {
    let config = loaded(None, &[("BUSBAR_TOKENS", &format!("a={HASH}, b={HASH},"))], &[]).unwrap();
    let token = |name: &str| Token { name: name.into(), sha256: TokenHash::of("hello") };
    assert_eq!(config.tokens, [token("a"), token("b")]);
}

#[test]
fn what_other_crates_read_is_checked_before_anything_starts() {
    let check = |file: &str, parts: &[&str]| {
        let error = loaded(Some(file), &[], &[]).unwrap().check_resources().unwrap_err().to_string();
        for part in parts {
            assert!(error.contains(part), "{error:?} lacks {part:?}");
        }
    };
    check("[[mqtt.mappings]]\ntopic = \"a\"", &["mqtt.mappings[0]", "database"]);
    check("[[rules]]\nname = \"a\"\nform = \"5m\"", &["rules[0]", "form"]);
    check("[[webhooks]]\nname = \"a\"", &["webhooks[0]", "url"]);
    check("rules_file = \"/nowhere/rules.yaml\"", &["rules_file", "/nowhere/rules.yaml"]);
    assert!(Config::default().check_resources().is_ok());
}

#[test]
fn the_store_is_what_its_keys_say() {
    use storage::object::{Credentials, TableStore};
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "hush-hush\n").unwrap();
    let secret = secret.to_str().unwrap();
    let store = |variables: &[(&str, &str)]| loaded(None, variables, &[]).unwrap().table_store();
    assert!(matches!(store(&[]), Ok(TableStore::Local)));
    let url = ("BUSBAR_STORE_URL", "s3://bucket/a/prefix/");
    let key = [("BUSBAR_STORE_ACCESS_KEY_ID", "id"), ("BUSBAR_STORE_SECRET_FILE", secret)];
    let Ok(TableStore::S3(s3)) = store(&[url, key[0], key[1]]) else { panic!("not S3") };
    assert_eq!((s3.bucket.as_str(), s3.prefix.as_str()), ("bucket", "a/prefix"));
    assert!(
        matches!(&s3.credentials, Credentials::Key { secret_access_key, .. } if secret_access_key == "hush-hush")
    );
    assert!(!format!("{s3:?}").contains("hush"));
    let printed = render(&loaded(None, &[url, key[0], key[1]], &[]).unwrap());
    assert!(printed.contains("url = \"s3://bucket/a/prefix/\"") && !printed.contains("hush"), "{printed}");
    let endpoint = |text| ("BUSBAR_STORE_ENDPOINT", text);
    let wrong: [(&[(&str, &str)], &str); 9] = [
        (&[endpoint("https://s3.example.com")], "store.endpoint is set but store.url is not"),
        (&[("BUSBAR_STORE_URL", "bucket")], "write it as in \"s3://BUCKET/PREFIX\""),
        (&[("BUSBAR_STORE_URL", "s3://user:hush@bucket")], "store.url is not a place"),
        (&[url, endpoint("http://127.0.0.1:9000")], "set store.allow_http = true"),
        (&[url, endpoint("s3.example.com")], "is not a URL"),
        (&[url, endpoint("https://user:hush@s3.example.com")], "store.endpoint holds a user"),
        (&[url, key[0]], "store.secret_file is not"),
        (
            &[url, key[0], ("BUSBAR_STORE_SECRET_FILE", "/nowhere/secret")],
            "store.secret_file /nowhere/secret: ",
        ),
        (&[("BUSBAR_STORE_CACHE_BYTES", "1MiB")], "a cache has at least 16MiB"),
    ];
    for (variables, part) in wrong {
        let message = store(variables).unwrap_err().to_string();
        assert!(message.contains(part) && !message.contains("hush"), "{message:?} lacks {part:?}");
    }
    let message = message(None, &[("BUSBAR_DISK_MAX_BYTES", "100MiB")], &[]);
    assert!(message.contains("disk.max_bytes is 100MiB but must hold 4 segments"), "{message}");
}
