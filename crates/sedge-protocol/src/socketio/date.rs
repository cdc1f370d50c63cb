//! Dates as JavaScript prints them. msgpack carries dates; JSON, and so everything a handler
//! sees, has them as ISO 8601 text.

/// The furthest a JavaScript date can be from 1970, in milliseconds.
const DATE_MAX_MS: f64 = 8.64e15;
const MS_PER_DAY: i64 = 86_400_000;

/// `new Date(ms).toISOString()`, or `None` where that throws (and JSON has `null`).
pub(super) fn iso_8601(ms: f64) -> Option<String> {
    if !ms.is_finite() || ms.abs() > DATE_MAX_MS {
        return None;
    }
    // JavaScript cuts the fraction off towards zero.
    let ms = ms.trunc() as i64;
    let (year, month, day) = civil_date(ms.div_euclid(MS_PER_DAY));
    let time = ms.rem_euclid(MS_PER_DAY);
    let (seconds, millis) = (time / 1000, time % 1000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let year = match year {
        0..=9999 => format!("{year:04}"),
        _ => format!("{year:+07}"),
    };
    Some(format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z"))
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar.
///
/// Years are counted from March, so that the leap day is the last of its year, within eras of 400
/// years, which all have the same number of days.
fn civil_date(days: i64) -> (i64, i64, i64) {
    const DAYS_PER_ERA: i64 = 146_097;
    // 0000-03-01 is this many days before 1970-01-01.
    let days = days + 719_468;
    let era = days.div_euclid(DAYS_PER_ERA);
    let day_of_era = days.rem_euclid(DAYS_PER_ERA);
    let leap_days = day_of_era / 1460 - day_of_era / 36_524 + day_of_era / 146_096;
    let year_of_era = (day_of_era - leap_days) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // From March on, months have 153 days in every five.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = 400 * era + year_of_era + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_print_as_in_javascript() {
        // Each line from `new Date(ms).toISOString()`.
        let cases = [
            (0.0, "1970-01-01T00:00:00.000Z"),
            (-1.0, "1969-12-31T23:59:59.999Z"),
            (-0.5, "1970-01-01T00:00:00.000Z"),
            (951_782_400_123.0, "2000-02-29T00:00:00.123Z"),
            (1_700_000_000_000.0, "2023-11-14T22:13:20.000Z"),
            (4_107_542_399_999.0, "2100-02-28T23:59:59.999Z"),
            (253_402_300_800_000.0, "+010000-01-01T00:00:00.000Z"),
            (-62_167_219_200_001.0, "-000001-12-31T23:59:59.999Z"),
            (8.64e15, "+275760-09-13T00:00:00.000Z"),
            (-8.64e15, "-271821-04-20T00:00:00.000Z"),
        ];
        for (ms, text) in cases {
            assert_eq!(iso_8601(ms).as_deref(), Some(text));
        }
        assert_eq!(iso_8601(8.64e15 + 1.0), None);
        assert_eq!(iso_8601(f64::NAN), None);
    }
}
