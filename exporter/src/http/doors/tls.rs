//! TLS as the web configuration file asks for it, by rustls with ring.

use std::sync::Arc;

use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, NamedGroup, RootCertStore,
    ServerConfig, SignatureScheme, SupportedProtocolVersion, version,
};

use super::subject_names::subject_names;
use super::web_config::{Pems, TlsWritten, Wrong};
use crate::escape;

/// How a client's certificate is looked at, in the words of Go's `crypto/tls`, which the schema uses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum ClientAuth {
    NoClientCert,
    RequestClientCert,
    RequireAnyClientCert,
    VerifyClientCertIfGiven,
    RequireAndVerifyClientCert,
}

impl ClientAuth {
    fn read(text: Option<&str>) -> Result<Self, Wrong> {
        match text.unwrap_or_default() {
            "" | "NoClientCert" => Ok(Self::NoClientCert),
            "RequestClientCert" => Ok(Self::RequestClientCert),
            // The second is an older name of the first.
            "RequireAnyClientCert" | "RequireClientCert" => Ok(Self::RequireAnyClientCert),
            "VerifyClientCertIfGiven" => Ok(Self::VerifyClientCertIfGiven),
            "RequireAndVerifyClientCert" => Ok(Self::RequireAndVerifyClientCert),
            other => Err(Wrong::tls(
                "client_auth_type",
                format!(
                    "{} is none: write NoClientCert, RequestClientCert, RequireAnyClientCert, \
                     VerifyClientCertIfGiven or RequireAndVerifyClientCert",
                    escape::terminal(other)
                ),
            )),
        }
    }

    fn is_required(self) -> bool {
        matches!(self, Self::RequireAnyClientCert | Self::RequireAndVerifyClientCert)
    }

    fn is_checked(self) -> bool {
        matches!(self, Self::VerifyClientCertIfGiven | Self::RequireAndVerifyClientCert)
    }
}

/// Builds what a listener needs, and says whether every client's certificate is checked.
pub(super) fn server(written: &TlsWritten, pems: &Pems) -> Result<(ServerConfig, bool), Wrong> {
    let provider = Arc::new(CryptoProvider {
        cipher_suites: cipher_suites(written.cipher_suites.as_deref().unwrap_or_default())?,
        kx_groups: curves(written.curve_preferences.as_deref().unwrap_or_default())?,
        ..ring::default_provider()
    });
    let auth = ClientAuth::read(written.client_auth_type.as_deref())?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions(written)?)
        .map_err(|error| {
            Wrong::tls("cipher_suites", format!("leave nothing to speak ({error}): name further ones"))
        })?;
    let builder = match client_check(written, pems, auth, &provider)? {
        Some(check) => builder.with_client_cert_verifier(Arc::new(check)),
        None => builder.with_no_client_auth(),
    };
    let chain = certificates(&pems.certificates, "cert_file")?;
    let key = PrivateKeyDer::from_pem_slice(&pems.key).map_err(|_| {
        Wrong::tls(
            "key_file",
            "holds no private key in PEM: give an unencrypted one in PKCS#8, PKCS#1 or SEC1",
        )
    })?;
    let mut config = builder.with_single_cert(chain, key).map_err(|error| {
        let problem = if matches!(error, Error::InconsistentKeys(_)) {
            "is not the key of the certificate: give the one it was made with".to_owned()
        } else {
            format!("certificate or key cannot be used ({error}): give an RSA, ECDSA or Ed25519 key")
        };
        Wrong::tls("key_file", problem)
    })?;
    config.ignore_client_order = written.prefer_server_cipher_suites.unwrap_or(true);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Every connection proves itself anew: nothing outlives a certificate that was withdrawn.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok((config, auth == ClientAuth::RequireAndVerifyClientCert))
}

fn versions(written: &TlsWritten) -> Result<Vec<&'static SupportedProtocolVersion>, Wrong> {
    let number = |field: &str, text: &Option<String>, default: u8| match text.as_deref().unwrap_or_default() {
        "" => Ok(default),
        "TLS12" => Ok(2),
        "TLS13" => Ok(3),
        old @ ("TLS10" | "TLS11") => {
            Err(Wrong::tls(field, format!("{old} is not offered, it is broken: write TLS12 or TLS13")))
        }
        other => {
            Err(Wrong::tls(field, format!("{} is no version: write TLS12 or TLS13", escape::terminal(other))))
        }
    };
    let least = number("min_version", &written.min_version, 2)?;
    let most = number("max_version", &written.max_version, 3)?;
    if least > most {
        return Err(Wrong::tls("min_version", "is later than max_version: exchange the two"));
    }
    let offered = [(3, &version::TLS13), (2, &version::TLS12)];
    Ok(offered.into_iter().filter(|(number, _)| (least..=most).contains(number)).map(|(_, it)| it).collect())
}

/// Picks suites by their registered names. Those of TLS 1.3 are always offered, as in Go.
fn cipher_suites(names: &[String]) -> Result<Vec<tokio_rustls::rustls::SupportedCipherSuite>, Wrong> {
    let all = ring::ALL_CIPHER_SUITES;
    // The crate spells those of TLS 1.3 in its own way.
    let name_of = |suite: &tokio_rustls::rustls::SupportedCipherSuite| {
        suite.suite().as_str().unwrap_or_default().replace("TLS13_", "TLS_")
    };
    if names.is_empty() {
        return Ok(all.to_vec());
    }
    let mut picked: Vec<_> = all.iter().copied().filter(|suite| suite.tls13().is_some()).collect();
    for name in names {
        match all.iter().find(|suite| name_of(suite) == *name) {
            Some(suite) if picked.contains(suite) => {}
            Some(suite) => picked.push(*suite),
            None => {
                let known: Vec<_> = all.iter().map(name_of).collect();
                let problem = format!(
                    "{} is not offered: leave it out; these are: {}",
                    escape::terminal(name),
                    known.join(", ")
                );
                return Err(Wrong::tls("cipher_suites", problem));
            }
        }
    }
    Ok(picked)
}

type Group = &'static dyn tokio_rustls::rustls::crypto::SupportedKxGroup;

fn curves(names: &[String]) -> Result<Vec<Group>, Wrong> {
    if names.is_empty() {
        return Ok(ring::ALL_KX_GROUPS.to_vec());
    }
    let find = |name: &String| {
        let group = match name.as_str() {
            "X25519" => Some(NamedGroup::X25519),
            "CurveP256" => Some(NamedGroup::secp256r1),
            "CurveP384" => Some(NamedGroup::secp384r1),
            _ => None,
        };
        let found = ring::ALL_KX_GROUPS.iter().copied().find(|offered| Some(offered.name()) == group);
        found.ok_or_else(|| {
            let problem =
                format!("{} is not offered: write X25519, CurveP256 or CurveP384", escape::terminal(name));
            Wrong::tls("curve_preferences", problem)
        })
    };
    names.iter().map(find).collect()
}

fn certificates(pem: &[u8], field: &str) -> Result<Vec<CertificateDer<'static>>, Wrong> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match read {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) | Err(_) => Err(Wrong::tls(field, "holds no certificate in PEM: give one that does")),
    }
}

fn client_check(
    written: &TlsWritten,
    pems: &Pems,
    auth: ClientAuth,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<ClientCheck>, Wrong> {
    if auth == ClientAuth::NoClientCert && pems.client_authorities.is_some() {
        let problem = "is given, and nobody is asked for a certificate: set client_auth_type to RequireAndVerifyClientCert";
        return Err(Wrong::tls("client_ca_file", problem));
    }
    if written.client_allowed_sans.is_some() && !auth.is_required() {
        let problem =
            "needs a certificate from everybody: set client_auth_type to RequireAndVerifyClientCert";
        return Err(Wrong::tls("client_allowed_sans", problem));
    }
    if auth == ClientAuth::NoClientCert {
        return Ok(None);
    }
    let chain = match (&pems.client_authorities, auth.is_checked()) {
        (Some(pem), true) => Some(authorities(pem, provider)?),
        // Go would take the system's authorities, and so anybody who bought a certificate.
        (None, true) => {
            return Err(Wrong::tls(
                "client_ca_file",
                "is missing: give the authority clients are certified by",
            ));
        }
        (Some(_) | None, false) => None,
    };
    Ok(Some(ClientCheck {
        chain,
        is_required: auth.is_required(),
        allowed: written.client_allowed_sans.clone(),
        provider: Arc::clone(provider),
    }))
}

fn authorities(pem: &[u8], provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>, Wrong> {
    let unusable = |what: String| {
        Wrong::tls("client_ca_file", format!("cannot be used ({what}): give an authority's certificate"))
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem, "client_ca_file")? {
        roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|error| unusable(error.to_string()))
}

/// Looks at a client's certificate.
#[derive(Debug)]
struct ClientCheck {
    /// The chain to an authority; none where any certificate will do.
    chain: Option<Arc<dyn ClientCertVerifier>>,
    is_required: bool,
    /// Names of which the certificate must have one.
    allowed: Option<Vec<String>>,
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for ClientCheck {
    fn client_auth_mandatory(&self) -> bool {
        self.is_required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.as_ref().map_or(&[], |chain| chain.root_hint_subjects())
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if let Some(chain) = &self.chain {
            chain.verify_client_cert(end_entity, intermediates, now)?;
        }
        if let Some(allowed) = &self.allowed {
            let names =
                subject_names(end_entity).ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))?;
            if !names.iter().any(|name| allowed.contains(name)) {
                return Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure));
            }
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        tokio_rustls::rustls::crypto::verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        tokio_rustls::rustls::crypto::verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
