//! The time that templates may ask for.

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

/// A point in time on a calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CivilTime {
    /// Year, such as 2024.
    pub year: i64,
    /// Month, 1 to 12.
    pub month: u32,
    /// Day of the month, from 1.
    pub day: u32,
    /// Hour, 0 to 23.
    pub hour: u32,
    /// Minute.
    pub minute: u32,
    /// Second.
    pub second: u32,
}

/// Where a template gets the time from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Clock {
    /// The system's clock, in UTC.
    #[default]
    System,
    /// Always the same time, so that equal conversations give equal text on every day.
    Fixed(CivilTime),
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];

impl Clock {
    pub(super) fn now(self) -> CivilTime {
        match self {
            Self::Fixed(time) => time,
            Self::System => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH);
                CivilTime::from_unix(since.map_or(0, |since| since.as_secs() as i64))
            }
        }
    }
}

impl CivilTime {
    /// The time so many seconds after 1970 began, in UTC.
    pub fn from_unix(seconds: i64) -> Self {
        let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        // Years begin in March here, so that the leap day is the last; 400 of them are 146,097 days.
        let shifted = days + 719_468;
        let (era, day) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let (day, month) = (day - (153 * month + 2) / 5 + 1, (month + 2) % 12 + 1);
        Self {
            year: year + era * 400 + i64::from(month <= 2),
            month: month as u32,
            day: day as u32,
            hour: (rest / 3600) as u32,
            minute: (rest / 60 % 60) as u32,
            second: (rest % 60) as u32,
        }
    }

    fn days(&self) -> i64 {
        let year = self.year - i64::from(self.month <= 2);
        let (era, year) = (year.div_euclid(400), year.rem_euclid(400));
        let month = (i64::from(self.month) + 9) % 12;
        let day = (153 * month + 2) / 5 + i64::from(self.day) - 1;
        era * 146_097 + year * 365 + year / 4 - year / 100 + day - 719_468
    }

    /// As Python's `strftime` in the C locale; `None` for a directive that is not known here.
    pub(super) fn format(&self, format: &str) -> Option<String> {
        let mut out = String::new();
        let mut chars = format.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                out.push(c);
                continue;
            }
            let mut directive = chars.next()?;
            let bare = directive == '-';
            if bare {
                directive = chars.next()?;
            }
            let month = MONTHS.get(self.month.checked_sub(1)? as usize)?;
            // 1 January 1970 was a Thursday.
            let weekday = DAYS[(self.days() + 3).rem_euclid(7) as usize];
            let hour = (self.hour + 11) % 12 + 1;
            let first = Self {
                month: 1,
                day: 1,
                ..*self
            };
            let number = |width: usize, value: i64| match bare {
                true => format!("{value}"),
                false => format!("{value:0width$}"),
            };
            let text = match directive {
                'd' => number(2, self.day.into()),
                'm' => number(2, self.month.into()),
                'y' => number(2, self.year.rem_euclid(100)),
                'H' => number(2, self.hour.into()),
                'I' => number(2, hour.into()),
                'M' => number(2, self.minute.into()),
                'S' => number(2, self.second.into()),
                'j' => number(3, self.days() - first.days() + 1),
                'Y' => self.year.to_string(),
                'b' | 'h' => month[..3].to_owned(),
                'B' => (*month).to_owned(),
                'a' => weekday[..3].to_owned(),
                'A' => weekday.to_owned(),
                'p' => if self.hour < 12 { "AM" } else { "PM" }.to_owned(),
                'F' => self.format("%Y-%m-%d")?,
                'T' => self.format("%H:%M:%S")?,
                'n' => "\n".to_owned(),
                't' => "\t".to_owned(),
                '%' => "%".to_owned(),
                _ => return None,
            };
            // Writing to a string does not fail.
            let _ = out.write_str(&text);
        }
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let time = CivilTime::from_unix(1_721_995_384);
        assert_eq!(time.format("%d %b %Y").unwrap(), "26 Jul 2024");
        let all = "%A %a %B %-d %j %H:%M:%S %I %p %y %F %T%%";
        let want = "Friday Fri July 26 208 12:03:04 12 PM 24 2024-07-26 12:03:04%";
        assert_eq!(time.format(all).unwrap(), want);
        let leap = CivilTime::from_unix(951_782_400);
        assert_eq!((leap.year, leap.month, leap.day), (2000, 2, 29));
        assert_eq!(time.format("%Q"), None);
        assert_eq!(time.format("%"), None);
    }

    proptest! {
        #[test]
        fn days_count_on(days in -200_000i64..200_000) {
            let time = CivilTime::from_unix(days * 86_400);
            prop_assert_eq!(time.days(), days);
            prop_assert!((1..=12).contains(&time.month) && (1..=31).contains(&time.day));
        }
    }
}
