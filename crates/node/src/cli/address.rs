//! Which agent a command talks to.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::exit::{Exit, Failure};
use crate::api::socket_path;

/// Where an agent listens when nobody says otherwise.
const DEFAULT_SOCKET: &str = "/run/consign/agent.sock";

/// The address of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    /// Its Unix socket.
    Unix(PathBuf),
    /// `host:port`, over HTTP.
    Http(String),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Http(host) => write!(f, "http://{host}"),
        }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || {
            format!(
                "{text:?} is not an agent's address; hint: write unix:/path/to/agent.sock or \
                 http://127.0.0.1:7421"
            )
        };
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                "" => Err(bad()),
                _ => Ok(Self::Unix(path.into())),
            };
        }
        let host = text.strip_prefix("http://").ok_or_else(bad)?;
        let host = host.trim_end_matches('/');
        match host.rsplit_once(':') {
            _ if host.is_empty() || host.contains('/') => Err(bad()),
            Some((_, port)) if port.parse::<u16>().is_ok() => Ok(Self::Http(host.to_owned())),
            Some(_) if !host.ends_with(']') => Err(bad()),
            Some(_) | None => Ok(Self::Http(format!("{host}:80"))),
        }
    }
}

/// `--agent` first, then the data directory of `--config`, then `CONSIGN_AGENT` (`from_env`), then
/// the default.
pub(crate) fn resolve(
    agent: Option<&Address>,
    config: Option<&Path>,
    from_env: Option<&str>,
) -> Result<Address, Failure> {
    if let Some(agent) = agent {
        return Ok(agent.clone());
    }
    if let Some(config) = config {
        return Ok(Address::Unix(socket_path(&data_dir(config)?)));
    }
    match from_env {
        Some(text) => text
            .parse()
            .map_err(|bad| Failure::usage(format!("CONSIGN_AGENT: {bad}"))),
        None => Ok(Address::Unix(DEFAULT_SOCKET.into())),
    }
}

/// Reads nothing but `node.data_dir`: a command must reach an agent even if the rest of the file
/// was changed into something wrong since the agent started.
fn data_dir(config: &Path) -> Result<PathBuf, Failure> {
    let wrong = |why: String| {
        Failure::with(
            Exit::Usage,
            format!(
                "{}: {why}; hint: --config names the agent's configuration file",
                config.display()
            ),
        )
    };
    let text = std::fs::read_to_string(config).map_err(|error| wrong(error.to_string()))?;
    let table: toml::Table = text
        .parse()
        .map_err(|error: toml::de::Error| wrong(error.message().to_owned()))?;
    let data_dir = table.get("node").and_then(|node| node.get("data_dir"));
    let data_dir = data_dir.and_then(toml::Value::as_str);
    match data_dir {
        Some(path) => Ok(path.into()),
        None => Err(wrong("it has no node.data_dir".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_or_refused() {
        let unix = Address::Unix("/x/agent.sock".into());
        assert_eq!("unix:/x/agent.sock".parse(), Ok(unix));
        let http = |host: &str| Ok(Address::Http(host.to_owned()));
        assert_eq!("http://127.0.0.1:7421".parse(), http("127.0.0.1:7421"));
        assert_eq!("http://[::1]:7421/".parse(), http("[::1]:7421"));
        assert_eq!("http://localhost".parse(), http("localhost:80"));
        for bad in [
            "",
            "unix:",
            "http://",
            "https://x",
            "http://x/y",
            "/run/x",
            "http://x:y",
        ] {
            assert!(bad.parse::<Address>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_nearest_word_wins() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("c.toml");
        std::fs::write(&config, "[node]\nname = \"a\"\ndata_dir = \"/d\"\n").unwrap();
        let agent = Address::Http("x:1".to_owned());
        let resolved = |agent, config, env| resolve(agent, config, env).unwrap().to_string();
        assert_eq!(
            resolved(Some(&agent), Some(&config), Some("unix:/e")),
            "http://x:1"
        );
        assert_eq!(
            resolved(None, Some(&config), Some("unix:/e")),
            "unix:/d/agent.sock"
        );
        assert_eq!(resolved(None, None, Some("unix:/e")), "unix:/e");
        assert_eq!(resolved(None, None, None), "unix:/run/consign/agent.sock");
        let wrong = resolve(None, Some(Path::new("/nowhere.toml")), None).unwrap_err();
        assert_eq!(wrong.exit, Some(Exit::Usage));
    }
}
