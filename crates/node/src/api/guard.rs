//! Who may ask over TCP. Anyone on this machine can reach a loopback port, and so can any web page
//! in a browser on it: the Host header keeps such pages out (a name that was rebound to loopback
//! is none of ours), and whoever wants to change something shows the token.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::Response;

use super::error::ApiError;
use super::token::Token;

/// The conditions for a request over TCP.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    token: Token,
    hosts: Arc<[String]>,
}

impl Guard {
    /// `hosts` are names that are accepted beside `localhost` and addresses.
    pub(super) fn new(token: Token, hosts: &[String]) -> Self {
        Self {
            token,
            hosts: hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
        }
    }

    /// The router, with this in front of every route.
    pub(super) fn around(self, router: Router) -> Router {
        router.layer(middleware::from_fn_with_state(self, check))
    }

    fn check(&self, method: &Method, headers: &HeaderMap) -> Result<(), ApiError> {
        if !self.is_our_host(headers) {
            return Err(ApiError::new(
                StatusCode::FORBIDDEN,
                "refused",
                "the Host header names neither this machine nor a configured name; hint: ask for \
                 it by its address or as localhost",
            ));
        }
        let reads = matches!(*method, Method::GET | Method::HEAD);
        if reads || self.has_token(headers) {
            return Ok(());
        }
        Err(ApiError::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "calls that change something need the token over TCP; hint: send `Authorization: \
             Bearer …` with what is in api-token in the agent's data directory, or use its Unix \
             socket",
        ))
    }

    fn is_our_host(&self, headers: &HeaderMap) -> bool {
        let mut hosts = headers.get_all(header::HOST).iter();
        // Two of them would be read differently by different readers.
        let (Some(host), None) = (hosts.next(), hosts.next()) else {
            return false;
        };
        let host = host.to_str().unwrap_or_default().to_ascii_lowercase();
        let name = without_port(&host);
        name == "localhost"
            || name.parse::<IpAddr>().is_ok()
            || self.hosts.iter().any(|known| known == name)
    }

    fn has_token(&self, headers: &HeaderMap) -> bool {
        let value = headers.get(header::AUTHORIZATION);
        let text = value.and_then(|value| value.to_str().ok());
        let presented = text.and_then(|text| text.strip_prefix("Bearer "));
        presented.is_some_and(|presented| self.token.is(presented.trim()))
    }
}

/// The name or address in a Host header: `name:port`, `[::1]:port`, or without a port.
fn without_port(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or("", |(address, _)| address),
        None => host.split_once(':').map_or(host, |(name, _)| name),
    }
}

async fn check(
    State(guard): State<Guard>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    guard.check(request.method(), request.headers())?;
    Ok(next.run(request).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_as_browsers_write_them() {
        for (host, name) in [
            ("localhost:7421", "localhost"),
            ("127.0.0.1", "127.0.0.1"),
            ("[::1]:7421", "::1"),
            ("[::1]", "::1"),
            ("evil.example:7421", "evil.example"),
        ] {
            assert_eq!(without_port(host), name);
        }
    }
}
