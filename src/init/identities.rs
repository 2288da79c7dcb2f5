//! The replica identities that the connector wants its tables to have (`replica.identity.autoset.values`).

use tokio_postgres::Client;

use super::source::{execute, quoted};
use super::{InitPlan, Report, Step};
use crate::connector::WantedIdentity;
use crate::error::{Error, Result};
use crate::postgres::replica_identity;

/// Gives each captured table but those that were done before the one that is wanted, and says which were there. What this role
/// may not alter is left to a DBA.
pub(super) async fn ensure(
    plan: &InitPlan,
    client: &Client,
    report: &mut Report,
    before: &[(String, String)],
) -> Result<Vec<(String, String)>> {
    let mut done = Vec::new();
    for name @ (schema, table) in plan.tables.iter().filter(|name| !before.contains(name)) {
        let Some(wanted) = plan.identities.of_table(schema, table).map_err(Error::configuration)? else { continue };
        let found = replica_identity(client, &plan.postgres, (schema, table)).await?;
        let Some((letter, index)) = found else { continue };
        done.push(name.clone());
        let what = format!("replica identity {wanted} of table {schema}.{table}");
        if WantedIdentity::of_catalog(&letter, index.as_deref()) == *wanted {
            report.step(Step::Exists, what);
            continue;
        }
        let statement = format!("ALTER TABLE {}.{} REPLICA IDENTITY {wanted}", quoted(schema), quoted(table));
        execute(plan, client, report, &statement, &what).await?;
    }
    Ok(done)
}
