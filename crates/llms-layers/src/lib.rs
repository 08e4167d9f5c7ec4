//! Chat models around chat models: retry, rate limit, cache, router.
