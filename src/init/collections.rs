//! The read models' collections and indexes.

use super::{InitPlan, Report, Step};
use crate::error::Result;
use crate::mongo;

/// Makes the collections and indexes that are missing.
pub(super) async fn ensure(plan: &InitPlan, report: &mut Report) -> Result<()> {
    let database = mongo::connect(&plan.mongo).await?;
    let name = database.name();
    let created = if plan.is_dry_run {
        mongo::missing_collections(&database, &plan.collections).await
    } else {
        mongo::ensure_collections(&database, &plan.collections).await
    };
    mongo::close(database.client().clone()).await;
    let created = created?;
    if created.is_empty() {
        report.step(Step::Exists, format_args!("collections and indexes of {name}"));
    }
    for line in created {
        report.step(Step::Created, format_args!("{line} in {name}"));
    }
    Ok(())
}
