//! The TLS client both transports share: rustls with ring, named explicitly so that no process-wide default is
//! needed (reqwest panics without one), ALPN `http/1.1`, session resumption as rustls does it.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

use crate::options::Roots;

pub(crate) fn client_config(roots: &Roots) -> ClientConfig {
    let mut store = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    // `Roots` has tried each of them.
    store.add_parsable_certificates(roots.extra.iter().cloned());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("invariant: ring supports TLS 1.2 and 1.3")
        .with_root_certificates(store)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}
