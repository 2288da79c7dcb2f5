//! evp with a handler of one's own beside the built-in ones: it counts users by the domain of their address.
//!
//! `cargo run --example custom_handler -- process` runs it, and `cargo test --example custom_handler` its tests.

use std::process::ExitCode;

use evp::error::{Error, Result};
use evp::process::{Event, Handler, WriteModel};

struct UsersByDomain;

impl Handler for UsersByDomain {
    fn name(&self) -> &str {
        "users_by_domain"
    }

    fn event_type(&self) -> &str {
        "UserCreated"
    }

    fn handle(&self, event: &Event) -> Result<Vec<WriteModel>> {
        let Some(email) = event.text("email")? else { return Ok(Vec::new()) };
        let (_, domain) = email.rsplit_once('@').ok_or_else(|| Error::data("`email` has no domain"))?;
        let count = WriteModel::upsert("email_domains", domain.to_lowercase()).increment("users", 1);
        Ok(vec![count.latest("last_joined", event.created_at).into()])
    }
}

fn main() -> ExitCode {
    evp::run(evp::activity::registry().register(UsersByDomain))
}

#[cfg(test)]
mod tests {
    use super::*;
    use evp::serde_json::json;

    #[test]
    fn a_user_counts_for_the_domain_of_the_address() {
        let event = Event::sample("UserCreated", json!({ "email": "ada@Example.org" }));
        let expected = WriteModel::upsert("email_domains", "example.org").increment("users", 1);
        let expected = expected.latest("last_joined", event.created_at);
        assert_eq!(UsersByDomain.handle(&event).unwrap(), [expected.into()]);
    }

    #[test]
    fn an_address_without_a_domain_is_refused() {
        assert!(UsersByDomain.handle(&Event::sample("UserCreated", json!({ "email": "ada" }))).is_err());
    }
}
