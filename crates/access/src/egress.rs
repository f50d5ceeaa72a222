//! How many bytes of weights may leave, and how many have: an account with a cap over a sliding day.
//!
//! Source: the catalogue's control AC-10; the idea of a bandwidth limit below the size of the weights is from Nevo et
//! al., "Securing AI Model Weights", RAND RR-A2849-1 (2024).

/// Hours that an account remembers, the present one included: a day, and the part of an hour that makes it whole.
pub const HOURS: u64 = 25;
/// Hundredths of a cap above which each further departure is an alarm.
const ALARM_PERCENT: u128 = 80;

/// What left, by hour since 1970-01-01T00:00Z.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    hours: Vec<(u64, u64)>,
}

/// Whether bytes may leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// They may.
    Within,
    /// They may, and the account then stands above four fifths of its cap.
    Alarm,
    /// They may not: this many may.
    Over {
        /// Bytes that are left of the cap.
        room: u64,
    },
}

impl Account {
    /// An account as it was kept: hours with their bytes.
    pub const fn of(hours: Vec<(u64, u64)>) -> Self {
        Self { hours }
    }

    /// Hours with their bytes, for keeping.
    pub fn hours(&self) -> &[(u64, u64)] {
        &self.hours
    }

    /// Bytes within the last [`HOURS`]. Hours that are yet to come count: a clock that was set back frees nothing.
    pub fn used(&self, hour: u64) -> u64 {
        let recent = self.hours.iter().filter(|(at, _)| at.saturating_add(HOURS) > hour);
        recent.fold(0, |sum, (_, bytes)| sum.saturating_add(*bytes))
    }

    /// Whether so many bytes may leave under this cap.
    pub fn admit(&self, bytes: u64, cap: u64, hour: u64) -> Admission {
        let used = self.used(hour);
        let then = used.saturating_add(bytes);
        if then > cap {
            return Admission::Over { room: cap.saturating_sub(used) };
        }
        if u128::from(then).saturating_mul(100) > u128::from(cap).saturating_mul(ALARM_PERCENT) {
            return Admission::Alarm;
        }
        Admission::Within
    }

    /// Takes bytes into account, and forgets hours that no longer count.
    pub fn add(&mut self, bytes: u64, hour: u64) {
        self.hours.retain(|(at, _)| at.saturating_add(HOURS) > hour);
        match self.hours.iter_mut().find(|(at, _)| *at == hour) {
            Some((_, sum)) => *sum = sum.saturating_add(bytes),
            None => self.hours.push((hour, bytes)),
        }
    }

    /// Gives back bytes that were taken into account in this hour and did not leave.
    pub fn give_back(&mut self, bytes: u64, hour: u64) {
        if let Some((_, sum)) = self.hours.iter_mut().find(|(at, _)| *at == hour) {
            *sum = sum.saturating_sub(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_warns_before_the_cap_and_refuses_at_it() {
        let mut account = Account::default();
        assert_eq!(account.admit(80, 100, 1000), Admission::Within);
        account.add(80, 1000);
        assert_eq!(account.admit(1, 100, 1000), Admission::Alarm);
        assert_eq!(account.admit(20, 100, 1000), Admission::Alarm, "the cap itself may be reached");
        assert_eq!(account.admit(21, 100, 1000), Admission::Over { room: 20 });
        assert_eq!(account.admit(u64::MAX, 100, 1000), Admission::Over { room: 20 });
        assert_eq!(Account::default().admit(1, 0, 1000), Admission::Over { room: 0 });
        account.give_back(50, 1000);
        assert_eq!(account.used(1000), 30);
    }

    #[test]
    fn a_day_later_it_no_longer_counts() {
        let mut account = Account::default();
        account.add(7, 1000);
        assert_eq!((account.used(1024), account.used(1025)), (7, 0));
        assert_eq!(account.used(3), 7, "the clock was set back");
    }

    proptest! {
        /// However departures are spread over time: within any 24 hours no more than the cap leaves.
        #[test]
        fn no_day_exceeds_the_cap(steps in prop::collection::vec((0u64..5, 0u64..60), 0..200)) {
            let (mut account, mut hour, mut left) = (Account::default(), 500u64, Vec::new());
            for (later, bytes) in steps {
                hour += later;
                if !matches!(account.admit(bytes, 100, hour), Admission::Over { .. }) {
                    account.add(bytes, hour);
                    left.push((hour, bytes));
                }
                let day: u64 = left.iter().filter(|(at, _)| at + 24 >= hour).map(|(_, bytes)| bytes).sum();
                prop_assert!(day <= 100, "{day}");
                prop_assert!(account.hours().len() as u64 <= HOURS);
                // Kept and read again it is the same.
                prop_assert_eq!(Account::of(account.hours().to_vec()), account.clone());
            }
        }
    }
}
