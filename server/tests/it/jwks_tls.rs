//! The server fetches keys over HTTPS only from a host whose certificate the system trusts.

use std::path::Path;
use std::process::Output;
use std::sync::Arc;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::support::{dormouse, now_seconds};

/// Makes a certificate authority and writes its certificate to a file.
fn authority(file: &Path) -> Issuer<'static, KeyPair> {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    std::fs::write(file, params.self_signed(&key).unwrap().pem()).unwrap();
    Issuer::new(params, key)
}

/// Serves this answer over HTTPS at `localhost`; the port.
async fn serve(answer: Value, authority: &Issuer<'_, KeyPair>) -> u16 {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, authority).unwrap().der().clone();
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
    let config = ServerConfig::builder().with_no_client_auth();
    let config = config.with_single_cert(vec![certificate], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let body = answer.to_string();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            // A client that does not trust the certificate ends the handshake.
            let Ok(mut stream) = acceptor.accept(socket).await else { continue };
            let _ = stream.read(&mut [0; 4096]).await;
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_an_issuer_come_over_https_from_whom_the_system_trusts() {
    let dir = tempfile::tempdir().unwrap();
    let (trusted, other) = (dir.path().join("trusted.pem"), dir.path().join("other.pem"));
    let (issuer, _) = (authority(&trusted), authority(&other));
    let key = KeyPair::generate().unwrap();
    // An uncompressed point of P-256: 4, x, y (RFC 5480, section 2.2).
    let point = key.public_key_raw();
    let encoded = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let set = json!({ "keys": [{
        "kty": "EC", "crv": "P-256", "alg": "ES256", "kid": "k",
        "x": encoded(&point[1..33]), "y": encoded(&point[33..]),
    }] });
    let port = serve(set, &issuer).await;
    let claims = json!({ "sub": "ada", "aud": "dormouse", "exp": now_seconds() + 600 });
    let header = Header { kid: Some("k".into()), ..Header::new(Algorithm::ES256) };
    let signer = EncodingKey::from_ec_pem(key.serialize_pem().as_bytes()).unwrap();
    let token = jsonwebtoken::encode(&header, &claims, &signer).unwrap();

    let check = async |authorities: &Path| -> Output {
        let mut command = dormouse(&["token", "check", &token, "--data"]);
        command
            .arg(dir.path().join("data"))
            .env("DORMOUSE_AUTH_JWKS", format!("https://localhost:{port}/keys"))
            .env("DORMOUSE_AUTH_AUDIENCE", "dormouse")
            .env("SSL_CERT_FILE", authorities)
            .env_remove("SSL_CERT_DIR");
        tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap()
    };
    let valid = check(&trusted).await;
    let text = String::from_utf8_lossy(&valid.stdout);
    assert!(text.contains("valid") && text.contains("user: ada"), "{valid:?}");
    let refused = check(&other).await;
    let text = String::from_utf8_lossy(&refused.stderr);
    assert!(text.contains("cannot be fetched"), "{refused:?}");
}
