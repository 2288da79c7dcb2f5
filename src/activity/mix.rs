//! What share of the events concerns what.

use std::fmt;
use std::str::FromStr;

/// More would make the shares' sum too large for nothing.
const SHARE_MAX: u32 = 1_000_000;

/// Shares of events, by what they concern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mix {
    /// Users.
    pub users: u32,
    /// Activities.
    pub activities: u32,
    /// Participants of activities.
    pub participants: u32,
}

impl Default for Mix {
    fn default() -> Self {
        Self { users: 40, activities: 30, participants: 30 }
    }
}

impl Mix {
    /// Of so many events the shares are counted.
    pub(super) fn total(self) -> u32 {
        self.users.saturating_add(self.activities).saturating_add(self.participants).max(1)
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "users={},activities={},participants={}", self.users, self.activities, self.participants)
    }
}

impl FromStr for Mix {
    type Err = String;

    /// From pairs such as `users=40,activities=30,participants=30`; what is not named has no share.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut mix = Self { users: 0, activities: 0, participants: 0 };
        for pair in text.split(',') {
            let (name, share) =
                pair.split_once('=').ok_or_else(|| format!("`{pair}` is not of the form NAME=SHARE"))?;
            let place = match name.trim() {
                "users" => &mut mix.users,
                "activities" => &mut mix.activities,
                "participants" => &mut mix.participants,
                other => return Err(format!("there is no share of `{other}`: give users, activities, participants")),
            };
            let share = share.trim().parse().ok().filter(|share| *share <= SHARE_MAX);
            *place = share.ok_or_else(|| format!("the share of {name} has to be a number from 0 to {SHARE_MAX}"))?;
        }
        if mix == (Self { users: 0, activities: 0, participants: 0 }) {
            return Err("all shares are 0: give one of users, activities, participants".to_owned());
        }
        Ok(mix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_named_and_what_is_not_named_has_none() {
        let mix: Mix = "users=40,activities=30,participants=30".parse().unwrap();
        assert_eq!((mix, mix.to_string().parse()), (Mix::default(), Ok(mix)));
        assert_eq!("users=1".parse(), Ok(Mix { users: 1, activities: 0, participants: 0 }));
        for (wrong, said) in [
            ("users", "NAME=SHARE"),
            ("people=3", "people"),
            ("users=x", "number"),
            ("users=0", "all shares"),
            ("", "NAME"),
        ] {
            let reason = wrong.parse::<Mix>().unwrap_err();
            assert!(reason.contains(said), "{wrong}: {reason}");
        }
    }
}
