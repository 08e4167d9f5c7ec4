//! Run directories and record files that survive a kill
