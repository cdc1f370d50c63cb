//! A socket's handshake in the official server's form, as `fetch_sockets` shows it to other processes.

use std::time::{SystemTime, UNIX_EPOCH};

use sedge_protocol::socketio::Value;

use crate::core::socket::Socket;
use crate::limits::QUERY_PARAMETERS_MAX;

/// `{headers, time, address, xdomain, secure, issued, url, query, auth}`.
pub(crate) fn handshake_value(socket: &Socket) -> Value {
    let handshake = socket.handshake();
    let headers: Vec<(String, Value)> =
        handshake.headers().map(|(name, value)| (name.to_owned(), value.into())).collect();
    let query = last_of_each(handshake.query());
    let issued = socket.connected_at().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let address = handshake.address().map(|address| address.ip().to_string());
    Value::from([
        ("headers", Value::Object(headers)),
        ("time", date_text(socket.connected_at()).into()),
        ("address", address.into()),
        ("xdomain", handshake.xdomain().into()),
        ("secure", handshake.secure().into()),
        ("issued", (issued as u64).into()),
        ("url", handshake.url().into()),
        ("query", Value::Object(query)),
        ("auth", socket.auth_value()),
    ])
}

/// The parameters of a query, each once: an object has no two keys of one name, and the official server
/// takes the last value.
fn last_of_each(pairs: impl Iterator<Item = (String, String)>) -> Vec<(String, Value)> {
    let mut kept: Vec<(String, Value)> = Vec::new();
    for (name, value) in pairs.take(QUERY_PARAMETERS_MAX) {
        match kept.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value.into(),
            None => kept.push((name, value.into())),
        }
    }
    kept
}

/// A moment as JavaScript's `Date` prints it, in UTC.
fn date_text(time: SystemTime) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days since 0000-03-01 in the Gregorian calendar, whose 400 years have 146,097 days; years
    // that begin in March have their odd day at the end.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, year) = ((month + 2) % 12, era * 400 + year_of_era + u64::from(month >= 10));
    format!(
        "{} {} {day:02} {year} {:02}:{:02}:{:02} GMT+0000 (Coordinated Universal Time)",
        DAYS[(days % 7) as usize],
        MONTHS[month as usize],
        second / 3_600,
        second / 60 % 60,
        second % 60,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_repeated_parameter_is_one_key() {
        let pairs = [("a", "1"), ("b", "2"), ("a", "3")];
        let kept = last_of_each(pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).into_iter());
        assert_eq!(kept, [("a".to_owned(), "3".into()), ("b".to_owned(), "2".into())]);
    }

    #[test]
    fn dates_look_like_javascript_s() {
        // From `new Date(n * 1000).toString()` with TZ=UTC.
        let dates = [
            (0, "Thu Jan 01 1970 00:00:00"),
            (951_782_400, "Tue Feb 29 2000 00:00:00"),
            (1_709_251_199, "Thu Feb 29 2024 23:59:59"),
            (1_709_251_200, "Fri Mar 01 2024 00:00:00"),
            (1_795_173_723, "Fri Nov 20 2026 11:22:03"),
            (4_102_444_799, "Thu Dec 31 2099 23:59:59"),
        ];
        for (seconds, text) in dates {
            let time = UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(date_text(time), format!("{text} GMT+0000 (Coordinated Universal Time)"));
        }
    }
}
