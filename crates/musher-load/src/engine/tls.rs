//! TLS by rustls: what to trust, who we are.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::plan::{Plan, Protocol};
use crate::url::Url;

/// How TLS is spoken in a run.
pub(super) fn config(plan: &Plan) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(ring::default_provider());
    let versions = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let trusting = if plan.tls.insecure {
        versions.dangerous().with_custom_certificate_verifier(Arc::new(Anybody { provider }))
    } else {
        versions.with_root_certificates(trusted(plan.tls.authorities.as_deref())?)
    };
    let mut config = match &plan.tls.own {
        None => trusting.with_no_client_auth(),
        Some((certificates, key)) => {
            let chain = certificates_of(certificates)?;
            let key = PrivateKeyDer::from_pem_file(key)
                .map_err(|error| format!("{}: no private key in PEM form: {error}", key.display()))?;
            trusting.with_client_auth_cert(chain, key).map_err(|error| error.to_string())?
        }
    };
    config.alpn_protocols = match plan.protocol {
        Protocol::Http2 { .. } => vec![b"h2".to_vec()],
        _ => vec![b"http/1.1".to_vec()],
    };
    Ok(Arc::new(config))
}

/// A connection to the host of `url`.
pub(super) fn client(config: &Arc<ClientConfig>, plan: &Plan, url: &Url) -> Result<ClientConnection, String> {
    let name = plan.tls.server_name.as_deref().unwrap_or(&url.host).to_owned();
    let name = ServerName::try_from(name).map_err(|error| error.to_string())?;
    ClientConnection::new(Arc::clone(config), name).map_err(|error| error.to_string())
}

fn trusted(file: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let certificates = match file {
        Some(path) => certificates_of(path)?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    let (added, _) = roots.add_parsable_certificates(certificates);
    if added == 0 {
        return Err("this system has no certificates to trust: give some with --cacert, or --insecure".into());
    }
    Ok(roots)
}

fn certificates_of(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let certificates: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).map_err(|error| failed(&error))?.collect();
    let certificates = certificates.map_err(|error| failed(&error))?;
    if certificates.is_empty() { Err(failed(&"no certificate in PEM form")) } else { Ok(certificates) }
}

/// Trusts anybody: what `--insecure` asks for. Signatures are checked, as they prove nothing but cost what they cost.
#[derive(Debug)]
struct Anybody {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
