//! Who is at the other end of a connection, and the networks that rules are written in.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// The other end of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Peer {
    /// An IP address; IPv4 also when it came in mapped into IPv6.
    Ip(IpAddr),
    /// A program on this machine, through a Unix socket.
    Unix,
}

impl From<IpAddr> for Peer {
    fn from(ip: IpAddr) -> Self {
        Peer::Ip(ip.to_canonical())
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Ip(ip) => ip.fmt(f),
            Peer::Unix => f.write_str("unix"),
        }
    }
}

/// A set of peers: `192.168.0.0/16`, `::1` or `unix`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Network {
    /// All addresses that share their first `bits` with `address`; peers too are IPv4 where they can be.
    Ip {
        /// Any address of the network.
        address: IpAddr,
        /// Length of the prefix: 0 to 32 for IPv4, 0 to 128 for IPv6.
        bits: u8,
    },
    /// All Unix sockets.
    Unix,
}

impl Network {
    /// Whether `peer` belongs to the network.
    pub fn contains(&self, peer: Peer) -> bool {
        let same = |a: u128, b: u128, width: u8, bits: u8| {
            let shift = u32::from(width - bits);
            a.checked_shr(shift) == b.checked_shr(shift)
        };
        match (*self, peer) {
            (Network::Unix, Peer::Unix) => true,
            (Network::Ip { address: IpAddr::V4(net), bits }, Peer::Ip(IpAddr::V4(ip))) => {
                same(net.to_bits().into(), ip.to_bits().into(), 32, bits)
            }
            (Network::Ip { address: IpAddr::V6(net), bits }, Peer::Ip(IpAddr::V6(ip))) => {
                same(net.to_bits(), ip.to_bits(), 128, bits)
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = BadNetwork;

    fn from_str(text: &str) -> Result<Self, BadNetwork> {
        if text == "unix" {
            return Ok(Network::Unix);
        }
        let (address, bits) = text.split_once('/').map_or((text, None), |(a, b)| (a, Some(b)));
        let address: IpAddr = address.parse().map_err(|_| BadNetwork)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), |b| b.parse::<u8>().map_err(|_| BadNetwork))?;
        if bits > most {
            return Err(BadNetwork);
        }
        // IPv4 written as IPv6: so is no peer, and such a network would be one that nobody is in.
        let mapped = address.to_canonical();
        match bits.checked_sub(MAPPED_BITS) {
            Some(bits) if mapped.is_ipv4() && address.is_ipv6() => Ok(Network::Ip { address: mapped, bits }),
            _ => Ok(Network::Ip { address, bits }),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Network::Ip { address, bits } => write!(f, "{address}/{bits}"),
            Network::Unix => f.write_str("unix"),
        }
    }
}

/// A text that is no network.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BadNetwork;

impl fmt::Display for BadNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a network is an address with a prefix (192.168.0.0/16, fd00::/8), an address, or unix")
    }
}

impl std::error::Error for BadNetwork {}

/// Bits in front of an IPv4 address that is mapped into IPv6 (RFC 4291, section 2.5.5.2).
const MAPPED_BITS: u8 = 96;

/// Who may stop the server through the Python protocol unless configured: this machine.
pub const THIS_MACHINE: [Network; 3] = [
    Network::Ip { address: IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 0)), bits: 8 },
    Network::Ip { address: IpAddr::V6(std::net::Ipv6Addr::LOCALHOST), bits: 128 },
    Network::Unix,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn within(network: &str, ip: &str) -> bool {
        let ip: IpAddr = ip.parse().expect("an address");
        network.parse::<Network>().expect("a network").contains(ip.into())
    }

    #[test]
    fn networks_contain_what_shares_their_prefix() {
        assert!(within("127.0.0.0/8", "127.9.9.9"));
        assert!(within("127.0.0.0/8", "::ffff:127.0.0.1"), "mapped addresses count as IPv4");
        assert!(!within("127.0.0.0/8", "128.0.0.1"));
        assert!(within("::ffff:10.0.0.0/104", "10.9.9.9") && within("::ffff:10.0.0.1", "::ffff:10.0.0.1"));
        assert!(!within("::ffff:10.0.0.0/104", "11.0.0.1") && !within("::ffff:10.0.0.0/80", "10.0.0.1"));
        assert!(within("10.1.2.3", "10.1.2.3") && !within("10.1.2.3", "10.1.2.4"));
        assert!(within("0.0.0.0/0", "8.8.8.8") && !within("0.0.0.0/0", "::1"));
        assert!(within("::/0", "fe80::1") && within("fd00::/8", "fdff::1") && !within("fd00::/8", "fe00::1"));
        assert!(
            Network::Unix.contains(Peer::Unix)
                && !Network::Unix.contains("::1".parse::<IpAddr>().unwrap().into())
        );
        assert!(THIS_MACHINE.iter().any(|n| n.contains("::1".parse::<IpAddr>().unwrap().into())));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "localhost", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/-1", "unix/8"] {
            assert_eq!(text.parse::<Network>(), Err(BadNetwork), "{text}");
        }
    }
}
