//! nginx's `hash … consistent`: a ring of points, 160 for each unit of a server's weight, made by
//! CRC-32. A key belongs to the first point from its own hash on. The facts are those of
//! `ngx_http_upstream_hash_module.c`, which has the points from Perl's `Cache::Memcached::Fast`; a
//! test compares the placement with a running nginx.
//!
//! One thing differs. If the server of a point is away, the next point is tried: by nginx twenty
//! times, before it takes any server in turn, here until the ring is through. So with many servers
//! away clients still have one place.

/// Points for each unit of weight.
pub const POINTS: u32 = 160;

/// The ring.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ring {
    /// Sorted by the hash, of which each occurs once.
    points: Vec<(u32, u16)>,
}

impl Ring {
    /// A ring of servers with their names as in nginx's configuration (`address:port`,
    /// `unix:/path`), weights and numbers.
    pub fn new<'a>(servers: impl IntoIterator<Item = (&'a str, u32, u16)>) -> Ring {
        let mut points = Vec::new();
        for (name, weight, number) in servers {
            points.extend(points_of(name, weight).map(|hash| (hash, number)));
        }
        // Of equal hashes the earlier server's counts.
        points.sort_by_key(|(hash, _)| *hash);
        points.dedup_by_key(|(hash, _)| *hash);
        points.shrink_to_fit();
        Ring { points }
    }

    /// The numbers of the servers in the order in which they are tried for the key. Each stands
    /// there as often as it has points.
    pub fn servers(&self, key: &[u8]) -> impl Iterator<Item = u16> + '_ {
        let hash = crc32(!0, key) ^ !0;
        let first = self.points.partition_point(|(point, _)| *point < hash);
        let (before, behind) = self.points.split_at_checked(first).unwrap_or_default();
        behind.iter().chain(before).map(|(_, number)| *number)
    }
}

/// Each point hashes the host, a zero byte, the port and the point before it.
fn points_of(name: &str, weight: u32) -> impl Iterator<Item = u32> {
    let (host, port) = host_and_port(name);
    let base = [host, b"\0", port].iter().fold(!0, |crc, part| crc32(crc, part));
    let mut previous: u32 = 0;
    (0..weight.saturating_mul(POINTS)).map(move |_| {
        previous = crc32(base, &previous.to_le_bytes()) ^ !0;
        previous
    })
}

/// A port is what follows the last colon, if it is only digits.
fn host_and_port(name: &str) -> (&[u8], &[u8]) {
    let bytes = name.as_bytes();
    if let Some((scheme, path)) = bytes.split_at_checked(5)
        && scheme.eq_ignore_ascii_case(b"unix:")
    {
        return (path, b"");
    }
    match name.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            (host.as_bytes(), port.as_bytes())
        }
        _ => (bytes, b""),
    }
}

/// One table for each byte value: the reflected polynomial of Ethernet.
const TABLE: [u32; 256] = {
    const POLYNOMIAL: u32 = 0xedb8_8320;
    let mut table = [0; 256];
    let mut value = 0;
    while value < 256 {
        let mut crc = value as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        table[value] = crc;
        value += 1;
    }
    table
};

/// CRC-32 without the inversions at both ends, so that it can be continued.
fn crc32(crc: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(crc, |crc, byte| {
        let at = (crc ^ u32::from(*byte)) & 0xff;
        crc >> 8 ^ TABLE.get(at as usize).copied().unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc_32_has_its_check_value() {
        assert_eq!(crc32(!0, b"123456789") ^ !0, 0xcbf4_3926);
    }

    #[test]
    fn names_are_taken_apart_as_nginx_does() {
        for (name, host, port) in [
            ("127.0.0.1:8080", "127.0.0.1", "8080"),
            ("[::1]:80", "[::1]", "80"),
            ("backend", "backend", ""),
            ("backend:http", "backend:http", ""),
            ("unix:/run/a:1", "/run/a:1", ""),
            ("UNIX:/run/a", "/run/a", ""),
            ("x:", "x", ""),
            ("12", "12", ""),
        ] {
            assert_eq!(host_and_port(name), (host.as_bytes(), port.as_bytes()), "{name}");
        }
    }

    #[test]
    fn a_ring_visits_every_server_and_each_point_once() {
        let ring = Ring::new([("a:1", 1, 0), ("b:1", 3, 1), ("c:1", 1, 2)]);
        for key in ["", "192.0.2.1", "::1"] {
            let order: Vec<u16> = ring.servers(key.as_bytes()).collect();
            assert_eq!(order.len(), ring.points.len());
            let count = |number| order.iter().filter(|server| **server == number).count();
            assert_eq!((count(0), count(1), count(2)), (160, 480, 160));
        }
        assert_eq!(Ring::new([]).servers(b"x").next(), None);
    }

    #[test]
    fn removing_a_server_moves_only_its_keys() {
        let names = ["a:1", "b:1", "c:1", "d:1"];
        let all = || names.iter().enumerate().map(|(at, name)| (*name, 1, at as u16));
        let (before, after) = (Ring::new(all()), Ring::new(all().filter(|(_, _, at)| *at != 2)));
        for key in 0..10_000_u32 {
            let key = key.to_string();
            let mut was = before.servers(key.as_bytes());
            let is = after.servers(key.as_bytes()).next();
            // A server that is away and one that is no longer listed are the same to clients.
            assert_eq!(was.find(|server| *server != 2), is);
        }
    }
}
