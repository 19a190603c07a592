//! Who may have what: the rules that a request is held against.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;
use std::time::Duration;

use data_encoding::{BASE64, HEXLOWER, HEXLOWER_PERMISSIVE};
use sha2::{Digest, Sha256};

use crate::limits::{
    CREDENTIALS_MAX, FAILURE_COST, FAILURES_DEBT_MAX, FAILURES_KEPT, HOST_NAME_MAX, ORIGIN_MAX,
};
use crate::peer::Peer;

/// What the configuration says of access, as values.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Rules {
    /// A request must carry one of these tokens; empty means that none is needed.
    pub tokens: Vec<TokenHash>,
    /// The pages, beside our own, that may read what is served.
    pub allow_origin: Option<Origin>,
    /// Names that this camera is reached by, beside its addresses, `localhost` and names in `.local`.
    pub names: Vec<HostName>,
}

/// What a request's credentials are worth.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Claim {
    /// There are none.
    #[default]
    None,
    /// They hold no token that is known.
    Wrong,
    /// They hold this token, which is known, or nobody is asked for one.
    Right(Option<TokenHash>),
}

impl Rules {
    /// What credentials are worth: a token as the password of any user, or as a bearer's.
    ///
    /// * `authorization`: value of the field `Authorization`.
    pub fn claim(&self, authorization: Option<&[u8]>) -> Claim {
        let Some(value) = authorization else { return Claim::None };
        let mut decoded = [0; CREDENTIALS_MAX];
        let token = match value.split(|b| *b == b' ').next() {
            Some(scheme) if scheme.eq_ignore_ascii_case(b"bearer") => value[scheme.len()..].trim_ascii(),
            Some(scheme) if scheme.eq_ignore_ascii_case(b"basic") => {
                let coded = value[scheme.len()..].trim_ascii();
                let room = BASE64.decode_len(coded.len()).ok().and_then(|n| decoded.get_mut(..n));
                let Some(Ok(n)) = room.map(|room| BASE64.decode_mut(coded, room)) else {
                    return Claim::Wrong;
                };
                let pair = &decoded[..n];
                let colon = pair.iter().position(|b| *b == b':');
                colon.map_or(&[][..], |colon| &pair[colon + 1..])
            }
            _ => return Claim::Wrong,
        };
        let given = TokenHash::of(token);
        if self.is_known(given) { Claim::Right(Some(given)) } else { Claim::Wrong }
    }

    /// Whether a viewer let in with `token` (`None`: no token was needed then) would still be let in.
    pub fn admits(&self, token: Option<TokenHash>) -> bool {
        self.tokens.is_empty() || token.is_some_and(|token| self.is_known(token))
    }

    /// All are compared, and each wholly: time tells nothing.
    fn is_known(&self, given: TokenHash) -> bool {
        self.tokens.iter().fold(false, |known, hash| known | hash.is(given))
    }

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
        if self.allow_origin.as_ref().is_some_and(|allowed| allowed.is(origin)) {
            return true;
        }
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

/// SHA-256 of a token: what a configuration keeps, so that whoever reads it cannot watch. Written as 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of a token.
    pub fn of(token: &[u8]) -> Self {
        Self(Sha256::digest(token).into())
    }

    fn is(self, other: TokenHash) -> bool {
        let differing = self.0.iter().zip(other.0).fold(0, |bits, (a, b)| bits | (a ^ b));
        std::hint::black_box(differing) == 0
    }
}

impl FromStr for TokenHash {
    type Err = BadTokenHash;

    fn from_str(text: &str) -> Result<Self, BadTokenHash> {
        let mut hash = [0; 32];
        if text.len() != 64 {
            return Err(BadTokenHash);
        }
        HEXLOWER_PERMISSIVE.decode_mut(text.as_bytes(), &mut hash).map_err(|_| BadTokenHash)?;
        Ok(Self(hash))
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; 64];
        HEXLOWER.encode_mut(&self.0, &mut digits);
        f.write_str(str::from_utf8(&digits).expect("digits are ASCII"))
    }
}

/// A text that is no hash of a token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BadTokenHash;

impl fmt::Display for BadTokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the SHA-256 of a token has 64 hexadecimal digits; `depthcast token` prints a token and its hash",
        )
    }
}

impl std::error::Error for BadTokenHash {}

/// Where pages come from: `https://panel.example:8443`, or `*` for everywhere.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Origin(String);

impl Origin {
    fn is(&self, origin: &str) -> bool {
        self.is_any() || self.0.eq_ignore_ascii_case(origin)
    }

    /// Whether it is every origin. Browsers send no credentials then.
    pub fn is_any(&self) -> bool {
        self.0 == "*"
    }
}

impl FromStr for Origin {
    type Err = BadOrigin;

    fn from_str(text: &str) -> Result<Self, BadOrigin> {
        let authority = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
        let fine = |c: u8| c.is_ascii_graphic() && !matches!(c, b'/' | b'@' | b'?' | b'#' | b'*' | b',');
        let whole = authority.is_some_and(|a| name_of(a).is_some() && a.bytes().all(fine))
            && text.len() <= ORIGIN_MAX;
        if text == "*" || whole { Ok(Self(text.into())) } else { Err(BadOrigin) }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that is no origin.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BadOrigin;

impl fmt::Display for BadOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an origin is http:// or https:// and a name or address, with a port or without, and nothing behind; or *")
    }
}

impl std::error::Error for BadOrigin {}

/// Wrong tokens tried, by address, in a table of fixed size.
///
/// Each failure costs [`FAILURE_COST`]; who owes more than [`FAILURES_DEBT_MAX`] is not listened to until enough time
/// has passed. Nobody waits meanwhile: the answer is just another one.
#[derive(Debug)]
pub struct Failures {
    /// Whose, and until when the debt lasts.
    kept: [Option<(Peer, Duration)>; FAILURES_KEPT],
}

impl Default for Failures {
    fn default() -> Self {
        Self { kept: [None; FAILURES_KEPT] }
    }
}

impl Failures {
    /// Whether `peer` has failed too often to be listened to at `now`.
    pub fn is_barred(&self, peer: Peer, now: Duration) -> bool {
        let peer = household(peer);
        self.kept.iter().flatten().any(|(who, until)| *who == peer && *until > now + FAILURES_DEBT_MAX)
    }

    /// Notes a failure.
    pub fn note(&mut self, peer: Peer, now: Duration) {
        let peer = household(peer);
        let place = self.kept.iter().position(|kept| kept.is_some_and(|(who, _)| who == peer));
        // Else the place whose debt ends first.
        let place = place
            .or_else(|| (0..FAILURES_KEPT).min_by_key(|&n| self.kept[n].map_or(Duration::ZERO, |k| k.1)));
        let Some(kept) = place.and_then(|place| self.kept.get_mut(place)) else { return };
        let debt = kept.filter(|(who, _)| *who == peer).map_or(now, |(_, until)| until.max(now));
        *kept = Some((peer, debt + FAILURE_COST));
    }
}

/// The peer that failures are counted for: IPv6 addresses by their /64 network.
fn household(peer: Peer) -> Peer {
    match peer {
        Peer::Ip(IpAddr::V6(ip)) => Peer::Ip(IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64))),
        other => other,
    }
}

/// A name that a machine is reached by, such as `camera01.example`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HostName(String);

impl FromStr for HostName {
    type Err = BadHostName;

    fn from_str(text: &str) -> Result<Self, BadHostName> {
        let fine = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'_');
        let whole =
            (1..=HOST_NAME_MAX).contains(&text.len()) && text.bytes().all(fine) && !text.ends_with('.');
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
        Rules { names: vec!["garage.example".parse().expect("a name")], ..Rules::default() }
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
    fn tokens_are_taken_as_password_or_bearers() {
        let rules =
            Rules { tokens: vec![TokenHash::of(b"one"), TokenHash::of(b"s3:cret")], ..Rules::default() };
        let basic = |text: &str| {
            let mut coded = [0; 1024];
            let coded = &mut coded[..BASE64.encode_len(text.len())];
            BASE64.encode_mut(text.as_bytes(), coded);
            [b"Basic ", &*coded].concat()
        };
        for right in [&b"Bearer one"[..], b"bearer  s3:cret ", &basic("any:one"), &basic(":s3:cret")] {
            assert!(matches!(rules.claim(Some(right)), Claim::Right(Some(_))), "{}", right.escape_ascii());
        }
        let long = basic(&"x".repeat(700));
        for wrong in [
            &b""[..],
            b"Bearer",
            b"Bearer two",
            b"one",
            b"Digest one",
            b"Basic one",
            &basic("one"),
            &basic("one:"),
            &basic("one:oneone"),
            &long,
            b"\xff",
        ] {
            assert_eq!(rules.claim(Some(wrong)), Claim::Wrong, "{}", wrong.escape_ascii());
        }
        assert_eq!(rules.claim(None), Claim::None);
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(
            (TokenHash::of(b"abc").to_string().as_str(), abc.parse()),
            (abc, Ok(TokenHash::of(b"abc")))
        );
        assert!(abc[1..].parse::<TokenHash>().is_err() && "g".repeat(64).parse::<TokenHash>().is_err());
    }

    #[test]
    fn who_guesses_is_not_listened_to_for_a_while() {
        let peer = |text: &str| Peer::from(text.parse::<IpAddr>().expect("an address"));
        let (guesser, other) = (peer("10.0.0.7"), peer("10.0.0.8"));
        let mut failures = Failures::default();
        let now = Duration::from_secs(100);
        for n in 0..100 {
            assert_eq!(failures.is_barred(guesser, now), n >= 10, "after {n}");
            if n < 10 {
                failures.note(guesser, now);
            }
        }
        assert!(!failures.is_barred(other, now));
        assert!(!failures.is_barred(guesser, now + FAILURE_COST));
        for n in 0..10 {
            failures.note(peer(&format!("2001:db8::{n}")), now);
        }
        assert!(
            failures.is_barred(peer("2001:db8::ffff"), now)
                && !failures.is_barred(peer("2001:db8:0:1::1"), now)
        );
        for n in 0..1000u32 {
            failures.note(Peer::from(IpAddr::V4((0x0b00_0000 + n).into())), now);
        }
        assert!(failures.is_barred(guesser, now), "a crowd does not wash one clean");
    }

    #[test]
    fn origins_are_origins() {
        for good in ["*", "http://a", "https://panel.example:8443", "http://[::1]:80"] {
            assert!(good.parse::<Origin>().is_ok(), "{good}");
        }
        for bad in ["", "a", "http://", "http://a/", "ftp://a", "http://a\r\nX: y", "http://a b", "http://*"]
        {
            assert!(bad.parse::<Origin>().is_err(), "{bad}");
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
