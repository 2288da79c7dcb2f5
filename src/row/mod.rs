//! A changed row and its table, whatever told of them: the stream of a slot, or a snapshot.
//!
//! What reads rows makes these, and what writes records takes them, so that neither knows the other.

mod change;
mod copied;
mod table;
mod values;

pub use change::{OldRow, Operation, RowChange};
pub use copied::{CopiedRow, NotCopied};
pub use table::{ColumnShape, TableShape};
pub use values::{Columns, Value, Values};
