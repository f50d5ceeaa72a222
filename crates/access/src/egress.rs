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

    /// How many more may leave under this cap.
    pub fn room(&self, cap: u64, hour: u64) -> u64 {
        cap.saturating_sub(self.used(hour))
    }

    /// Whether so many bytes bring the account above four fifths of this cap, where it did not stand before.
    pub fn crosses(&self, bytes: u64, cap: u64, hour: u64) -> bool {
        let used = self.used(hour);
        is_near(used.saturating_add(bytes), cap) && !is_near(used, cap)
    }

    /// Whether so many bytes may leave under this cap.
    pub fn admit(&self, bytes: u64, cap: u64, hour: u64) -> Admission {
        let used = self.used(hour);
        let then = used.saturating_add(bytes);
        if then > cap {
            return Admission::Over { room: cap.saturating_sub(used) };
        }
        if is_near(then, cap) { Admission::Alarm } else { Admission::Within }
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

/// What is known of bytes that were granted to somebody who spends them elsewhere: they were taken into account at the
/// grant, and come out again only when they can never be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Book {
    /// Bytes that were granted and not taken back.
    granted: u64,
    /// The hour in which those that are left are accounted for.
    hour: u64,
}

/// A change to the accounts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Change {
    /// Bytes to be taken into account in this hour.
    pub add: u64,
    /// Bytes to be given back.
    pub back: u64,
    /// The hour that they were taken into account in.
    pub of: u64,
}

impl Book {
    /// Somebody who reports bytes of whom nothing is known, because whoever granted them has ended. Those that are left
    /// may leave from now on, so they count from now on, once more.
    pub const fn adopt(used: u64, left: u64, hour: u64) -> (Self, Change) {
        (Self { granted: used.saturating_add(left), hour }, Change { add: left, back: 0, of: hour })
    }

    /// What a report that came after every grant changes: what was granted and is neither used nor left is gone, and what
    /// is left counts in the hour in which it may leave.
    pub fn settle(self, used: u64, left: u64, hour: u64) -> (Self, Change) {
        let told = used.saturating_add(left);
        let later = if hour == self.hour { 0 } else { left };
        let change = Change {
            // More than was ever granted is not to be, and is counted all the same.
            add: told.saturating_sub(self.granted).saturating_add(later),
            back: self.granted.saturating_sub(told).saturating_add(later),
            of: self.hour,
        };
        (Self { granted: told, hour }, change)
    }

    /// With bytes that were taken into account in the hour of the last report.
    #[must_use]
    pub const fn grant(self, bytes: u64) -> Self {
        Self { granted: self.granted.saturating_add(bytes), ..self }
    }
}

impl Change {
    /// Whether nothing is to be changed.
    pub const fn is_none(&self) -> bool {
        self.add == 0 && self.back == 0
    }
}

impl Account {
    /// Makes a change. What counts now is added before anything is given back.
    pub fn change(&mut self, change: &Change, hour: u64) {
        if change.add > 0 {
            self.add(change.add, hour);
        }
        self.give_back(change.back, change.of);
    }
}

/// Whether so many bytes are above four fifths of the cap.
fn is_near(bytes: u64, cap: u64) -> bool {
    u128::from(bytes).saturating_mul(100) > u128::from(cap).saturating_mul(ALARM_PERCENT)
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
    fn a_line_is_crossed_once() {
        let mut account = Account::default();
        assert!(!account.crosses(80, 100, 1000) && account.crosses(81, 100, 1000));
        account.add(81, 1000);
        assert!(!account.crosses(10, 100, 1000), "it stands above the line already");
        assert_eq!((account.room(100, 1000), account.room(50, 1000)), (19, 0));
    }

    #[test]
    fn a_day_later_it_no_longer_counts() {
        let mut account = Account::default();
        account.add(7, 1000);
        assert_eq!((account.used(1024), account.used(1025)), (7, 0));
        assert_eq!(account.used(3), 7, "the clock was set back");
    }

    #[derive(Debug, Clone)]
    enum Step {
        Later(u64),
        Grant(u64),
        Spend(u64),
        GiveUp,
        Report,
        /// The one who grants ends and starts again, and knows nothing.
        Forget,
        /// The one who spends ends, and what was left with it.
        Restart,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0u64..4).prop_map(Step::Later),
            (0u64..60).prop_map(Step::Grant),
            (0u64..40).prop_map(Step::Spend),
            Just(Step::GiveUp),
            Just(Step::Report),
            Just(Step::Forget),
            Just(Step::Restart),
        ]
    }

    proptest! {
        /// Whoever ends in between: the account never says less than what left within a day, nor admits more than its cap.
        #[test]
        fn what_is_spent_elsewhere_is_always_counted(steps in prop::collection::vec(step(), 0..200)) {
            let (mut account, mut hour, mut gone) = (Account::default(), 500u64, Vec::<(u64, u64)>::new());
            let (mut used, mut left, mut book) = (0u64, 0u64, None::<Book>);
            for step in steps {
                match step {
                    Step::Later(hours) => hour += hours,
                    Step::Spend(bytes) if bytes <= left => {
                        (used, left) = (used + bytes, left - bytes);
                        gone.push((hour, bytes));
                    }
                    Step::Spend(_) => {}
                    Step::GiveUp => left = 0,
                    Step::Forget => book = None,
                    Step::Restart => (used, left, book) = (0, 0, None),
                    Step::Report | Step::Grant(_) => {
                        let (settled, change) =
                            book.map_or(Book::adopt(used, left, hour), |b| b.settle(used, left, hour));
                        account.change(&change, hour);
                        book = Some(settled);
                        if let Step::Grant(bytes) = step && bytes <= account.room(100, hour) {
                            account.add(bytes, hour);
                            left += bytes;
                            book = Some(settled.grant(bytes));
                        }
                    }
                }
                // A report comes at least once in an hour: only then what is left moves with the time.
                if matches!(step, Step::Later(_)) {
                    let (settled, change) =
                        book.map_or(Book::adopt(used, left, hour), |b| b.settle(used, left, hour));
                    account.change(&change, hour);
                    book = Some(settled);
                }
                let day: u64 = gone.iter().filter(|(at, _)| at + 24 >= hour).map(|(_, bytes)| bytes).sum();
                prop_assert!(day + left <= account.used(hour), "{day} and {left} of {}", account.used(hour));
            }
        }

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
