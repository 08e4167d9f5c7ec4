//! Money: dated price tables, what a request cost, what a target cost.
//!
//! Decimal US dollars throughout. A price that is not known makes a cost absent, never 0.

mod bill;
mod cache;
pub(crate) mod ledger;
mod meter;
mod prices;
pub(crate) mod prompts;
pub(crate) mod ratio;
pub mod summary;
mod usage;
mod waste;

pub use bill::{Bill, TokenClasses, batch_bill, bill};
pub use cache::{break_even_reads, least_reads, saving_share};
pub use meter::PriceMeter;
pub use prices::{Price, PriceError, PriceTable, Prices, Rates, Tier};
pub use waste::{Spending, Spent};
pub(crate) use {bill::input_bill, waste::again};
