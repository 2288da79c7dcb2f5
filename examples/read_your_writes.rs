//! A web back end that reads its own write: it commits an event, asks `evp process` whether it is applied, and reads the document.
//!
//! With capture and `evp process --http 127.0.0.1:9090` running:
//! `cargo run --example read_your_writes -- 127.0.0.1:9090 "host=localhost user=postgres dbname=activity" mongodb://localhost`

use std::error::Error;

use evp::bson::{Document, doc};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use uuid::Uuid;

const EVENT: &str = "INSERT INTO activity.event_outbox (event_id, aggregate_id, aggregate_type, event_type, payload) \
                     VALUES ($1, $2, 'User', 'UserCreated', jsonb_build_object('email', $3::text))";

/// Signs a user up, and gives back the read model as soon as it has the user.
pub(crate) async fn sign_up(
    sql: &tokio_postgres::Client,
    evp: &str,
    database: &mongodb::Database,
    email: &str,
) -> Result<Document, Box<dyn Error>> {
    let (event_id, user_id) = (Uuid::new_v4(), Uuid::new_v4());
    sql.execute(EVENT, &[&event_id, &user_id, &email]).await?;
    // A transaction of several events would ask by position: after the commit, on any connection.
    let row = sql.query_one("SELECT pg_current_wal_insert_lsn()::text", &[]).await?;
    let lsn: String = row.get(0);
    for question in [format!("event_id={event_id}"), format!("lsn={lsn}")] {
        let (status, answer) = get(evp, &format!("/applied?{question}&timeout=10s")).await?;
        if status != 200 {
            return Err(format!("the user is not there yet: {answer}").into());
        }
    }
    let users = database.collection::<Document>("users");
    let user = users.find_one(doc! { "_id": user_id.to_string() }).await?;
    user.ok_or_else(|| "the user is not there".into())
}

async fn get(address: &str, path: &str) -> Result<(u16, String), Box<dyn Error>> {
    let stream = hyper_util::rt::TokioIo::new(tokio::net::TcpStream::connect(address).await?);
    let (mut client, connection) = hyper::client::conn::http1::handshake(stream).await?;
    tokio::spawn(connection);
    let request = hyper::Request::get(path).header("host", address).body(Empty::<Bytes>::new())?;
    let answer = client.send_request(request).await?;
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [evp, postgres, mongo] = arguments.as_slice() else {
        return Err("give the address of evp process, PostgreSQL's and MongoDB's connection strings".into());
    };
    let (sql, connection) = tokio_postgres::connect(postgres, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    let database = mongodb::Client::with_uri_str(mongo).await?.database("activity_read");
    println!("{}", sign_up(&sql, evp, &database, "ada@example.org").await?);
    Ok(())
}
