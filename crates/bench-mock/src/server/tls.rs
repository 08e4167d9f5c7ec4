//! HTTPS with a certificate made when the server starts, by an authority made for it alone: none to expire or to leak.

use std::{fmt::Write as _, fs, sync::Arc};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use super::{config::StartError, settings::Tls};

/// What takes TLS connections, and the authority's certificate as PEM.
pub(super) fn acceptor(tls: &Tls) -> Result<(TlsAcceptor, String), StartError> {
    let wrong = |e: &dyn std::fmt::Display| StartError::Io(format!("cannot make a certificate: {e}"));
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    names.extend(tls.names.iter().cloned());
    let mut authority = CertificateParams::default();
    authority.distinguished_name.push(DnType::CommonName, "llms-bench mock authority (simulated)");
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority_key = KeyPair::generate().map_err(|e| wrong(&e))?;
    let authority = CertifiedIssuer::self_signed(authority, authority_key).map_err(|e| wrong(&e))?;
    let mut params = CertificateParams::new(names).map_err(|e| wrong(&e))?;
    params.distinguished_name.push(DnType::CommonName, "llms-bench mock (simulated)");
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate().map_err(|e| wrong(&e))?;
    let certificate = params.signed_by(&key, &authority).map_err(|e| wrong(&e))?;
    let pem = pem(authority.der());
    if let Some(path) = &tls.certificate_file {
        fs::write(path, &pem).map_err(|e| {
            StartError::Io(format!("cannot write the certificate to {}: {e}", path.display()))
        })?;
    }
    let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(|e| wrong(&e))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder
                .with_no_client_auth()
                .with_single_cert(vec![certificate.der().clone(), authority.der().clone()], key)
        })
        .map_err(|e| wrong(&e))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok((TlsAcceptor::from(Arc::new(config)), pem))
}

fn pem(der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let mut pem = "-----BEGIN CERTIFICATE-----\n".to_owned();
    for line in text.as_bytes().chunks(64) {
        let _ = writeln!(pem, "{}", String::from_utf8_lossy(line));
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}
