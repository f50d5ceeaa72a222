//! Which addresses an egress may lead to. Judged after a name was resolved, for the very address that is connected to.
//!
//! Sources: the IANA registries of special-purpose addresses of IPv4 and IPv6 (RFC 6890 and its updates), and the
//! addresses at which clouds give machines their secrets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use ops::relay::Reach;

/// How near an address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Near {
    /// The whole Internet can reach it.
    Public,
    /// A private network can.
    Private,
    /// It is this node.
    Node,
    /// Nobody is to be reached there.
    Never,
}

/// Addresses at which clouds give machines their secrets, beside those of the link: Alibaba's and Azure's.
const METADATA: [Ipv4Addr; 2] = [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(168, 63, 129, 16)];

/// Whether so near is near enough to be allowed.
pub(crate) fn allows(reach: Reach, near: Near) -> bool {
    let most = match reach {
        Reach::Public => Near::Public,
        Reach::Private => Near::Private,
        Reach::Node => Near::Node,
    };
    near <= most
}

/// How near it is: by its number, and by whether it is an address of this node.
pub(crate) fn near(address: IpAddr) -> Near {
    match by_number(address) {
        Near::Public | Near::Private if is_own(address) => Near::Node,
        near => near,
    }
}

/// Only an address of this node can be bound.
fn is_own(address: IpAddr) -> bool {
    UdpSocket::bind((address.to_canonical(), 0)).is_ok()
}

fn by_number(address: IpAddr) -> Near {
    match address {
        IpAddr::V4(v4) => of_v4(v4),
        IpAddr::V6(v6) => of_v6(v6),
    }
}

fn of_v4(address: Ipv4Addr) -> Near {
    if METADATA.contains(&address) {
        return Near::Never;
    }
    match address.octets() {
        [127, ..] => Near::Node,
        // This network, the link, protocol assignments, the old 6to4 relay, groups, reserved, broadcast.
        [0 | 224..=255, ..] | [169, 254, ..] | [192, 0, 0, _] | [192, 88, 99, _] => Near::Never,
        // Private, of carriers, of benchmarks, of documentation.
        [10, ..]
        | [172, 16..=31, ..]
        | [192, 168, ..]
        | [100, 64..=127, ..]
        | [198, 18..=19, ..]
        | [192, 0, 2, _]
        | [198, 51, 100, _]
        | [203, 0, 113, _] => Near::Private,
        _ => Near::Public,
    }
}

fn of_v6(address: Ipv6Addr) -> Near {
    // Another spelling of an IPv4 address is that address: mapped, and translated (RFC 6052).
    if let Some(v4) = address.to_ipv4_mapped() {
        return of_v4(v4);
    }
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 1] => Near::Node,
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            let [a, b] = high.to_be_bytes();
            let [c, d] = low.to_be_bytes();
            of_v4(Ipv4Addr::new(a, b, c, d))
        }
        // The metadata service of a cloud; Teredo, protocol assignments and 6to4, which are ways to other addresses.
        [0xfd00, 0xec2, ..] | [0x2001, 0..=0x1ff, ..] | [0x2002, ..] => Near::Never,
        // Unique local addresses, and those of documentation.
        [0xfc00..=0xfdff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0x0fff, ..] => Near::Private,
        [0x2000..=0x3fff, ..] => Near::Public,
        // The link, groups, sites, and what nobody was given.
        _ => Near::Never,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_is_as_near_as_the_registries_say() {
        for (near, addresses) in [
            (
                Near::Public,
                "1.1.1.1 8.8.8.8 172.15.0.1 172.32.0.1 100.63.0.1 100.128.0.1 2606:4700::1 ::ffff:1.1.1.1 64:ff9b::101:101 2001:200::1",
            ),
            (
                Near::Private,
                "10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 100.64.0.1 198.18.0.1 192.0.2.9 fd12::1 fc00::1 2001:db8::1 ::ffff:10.0.0.1 64:ff9b::a00:1",
            ),
            (Near::Node, "127.0.0.1 127.9.9.9 ::1 ::ffff:127.0.0.1 64:ff9b::7f00:1"),
            (
                Near::Never,
                "0.0.0.0 0.1.2.3 169.254.169.254 192.0.0.192 192.88.99.1 224.0.0.1 239.255.255.250 240.0.0.1 255.255.255.255 100.100.100.200 168.63.129.16 :: fe80::1 febf::1 fec0::1 ff02::1 2001::1 2002:7f00:1::1 fd00:ec2::254 ::ffff:169.254.169.254 ::ffff:0.0.0.0 64:ff9b::a9fe:a9fe 64:ff9b:1::1 ::7f00:1 100::1 4000::1 1::1",
            ),
        ] {
            for address in addresses.split(' ') {
                assert_eq!(by_number(address.parse().unwrap()), near, "{address}");
            }
        }
    }

    #[test]
    fn a_reach_allows_what_is_no_nearer() {
        use Near::{Never, Node, Private, Public};
        for (reach, allowed) in [
            (Reach::Public, [true, false, false]),
            (Reach::Private, [true, true, false]),
            (Reach::Node, [true; 3]),
        ] {
            assert_eq!([Public, Private, Node].map(|near| allows(reach, near)), allowed);
            assert!(!allows(reach, Never));
        }
    }

    #[test]
    fn addresses_of_this_machine_are_the_node() {
        assert_eq!(near("127.0.0.1".parse().unwrap()), Near::Node);
        assert_eq!(near("::ffff:127.0.0.1".parse().unwrap()), Near::Node);
        // Of this machine: what the kernel would send from, without sending anything.
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        if socket.connect("8.8.8.8:53").is_ok() {
            assert_eq!(near(socket.local_addr().unwrap().ip()), Near::Node);
        }
        assert_eq!(near("8.8.8.8".parse().unwrap()), Near::Public);
    }
}
