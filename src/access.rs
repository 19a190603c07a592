//! Who may have what: the rules that a request is held against.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// What the configuration says of access, as values.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Rules {
    /// Names that this camera is reached by, beside its addresses, `localhost` and names in `.local`.
    pub names: Vec<HostName>,
}

impl Rules {
    /// Whether a request that says it is for `host` may become a WebSocket.
    ///
    /// A page anywhere on the Internet can have its own name lead to this camera (DNS rebinding); it cannot have an
    /// address, `localhost` or a name in `.local` do so.
    ///
    /// * `host`: value of the field `Host`: a name or an address, and a port or none.
    pub fn is_host(&self, host: &str) -> bool {
        let Some(name) = name_of(host) else { return false };
        address(name).is_some() || self.is_name(name)
    }

    /// Whether a page from `origin` may open a WebSocket that it reaches as `host`.
    ///
    /// Browsers let any page connect anywhere and only say which it is. Pages of this camera pass, and those of
    /// machines that its [`Rules::is_host`] would be; of public addresses only its own.
    ///
    /// * `origin`: value of the field `Origin`, such as `http://192.168.1.7:8080`.
    pub fn is_origin(&self, origin: &str, host: &str) -> bool {
        let Some((_, authority)) = origin.split_once("://") else { return false };
        let (Some(name), Some(own)) = (name_of(authority), name_of(host)) else { return false };
        match address(name) {
            Some(ip) => is_near(ip) || Some(ip) == address(own),
            None => self.is_name(name),
        }
    }

    fn is_name(&self, name: &str) -> bool {
        let name = name.strip_suffix('.').unwrap_or(name);
        let local = name.len() > 6 && name.as_bytes()[name.len() - 6..].eq_ignore_ascii_case(b".local");
        local
            || name.eq_ignore_ascii_case("localhost")
            || self.names.iter().any(|known| known.0.eq_ignore_ascii_case(name))
    }
}

/// A name that a machine is reached by, such as `camera01.example`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HostName(String);

impl FromStr for HostName {
    type Err = BadHostName;

    fn from_str(text: &str) -> Result<Self, BadHostName> {
        let fine = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'_');
        let whole = (1..=253).contains(&text.len()) && text.bytes().all(fine) && !text.ends_with('.');
        if whole { Ok(Self(text.into())) } else { Err(BadHostName) }
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that is no name of a machine.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BadHostName;

impl fmt::Display for BadHostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name is letters, digits, hyphens and dots, without http:// and without a port")
    }
}

impl std::error::Error for BadHostName {}

/// What of `name`, `name:port`, `[address]` or `[address]:port` is not the port.
fn name_of(authority: &str) -> Option<&str> {
    let end = if authority.starts_with('[') {
        authority.find(']')? + 1
    } else {
        authority.find(':').unwrap_or(authority.len())
    };
    let (name, port) = authority.split_at(end);
    let fine = match port.strip_prefix(':') {
        Some(digits) => digits.bytes().all(|b| b.is_ascii_digit()),
        None => port.is_empty(),
    };
    (fine && !name.is_empty()).then_some(name)
}

fn address(name: &str) -> Option<IpAddr> {
    match name.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')) {
        Some(inner) => inner.parse::<Ipv6Addr>().ok().map(|ip| IpAddr::V6(ip).to_canonical()),
        None => name.parse().ok().filter(IpAddr::is_ipv4),
    }
}

/// Whether an address is of this machine or a private network, where no stranger puts a page.
fn is_near(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        Rules { names: vec!["garage.example".parse().expect("a name")] }
    }

    #[test]
    fn hosts_that_nobody_else_can_have() {
        let good = [
            "127.0.0.1",
            "192.168.1.7:8080",
            "[::1]:8080",
            "[fe80::1]",
            "203.0.113.5",
            "localhost",
            "LocalHost:8080",
            "camera01.local",
            "Camera01.LOCAL.:80",
            "garage.example",
            "Garage.Example:8080",
        ];
        for host in good {
            assert!(rules().is_host(host), "{host}");
        }
        let bad = [
            "",
            ":80",
            "evil.example",
            "garage.example.evil.example",
            "evillocal",
            ".local",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "[::1",
            "[evil]",
            "::1",
            "localhost:80@evil.example",
            "192.168.1.7:80:80",
            "local",
            "camera01.local:8080/x",
        ];
        for host in bad {
            assert!(!rules().is_host(host), "{host}");
        }
    }

    #[test]
    fn names_are_names() {
        for bad in ["", "http://a", "a:80", "a b", "a.", "ä"] {
            assert!(bad.parse::<HostName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn origins_that_are_ours_or_near() {
        let passes = |origin: &str| rules().is_origin(origin, "203.0.113.5:8080");
        for origin in [
            "http://203.0.113.5:8080",
            "http://203.0.113.5",
            "http://192.168.1.9",
            "http://localhost:3000",
            "https://garage.example",
            "http://camera01.local:8080",
            "http://[::1]:8080",
        ] {
            assert!(passes(origin), "{origin}");
        }
        for origin in
            ["null", "", "http://evil.example", "http://203.0.113.6", "https://[2001:db8::1]", "file://"]
        {
            assert!(!passes(origin), "{origin}");
        }
    }
}
