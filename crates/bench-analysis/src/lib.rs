//! RunResult to Analysis: metrics, exact quantiles and intervals, paired comparison, cost
