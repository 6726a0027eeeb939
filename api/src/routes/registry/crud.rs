//! What list, create, read, put, patch and delete do for every resource.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value as Json;
use storage::registry::{Faults, ListQuery, Put, Record, RegistryError, Resource};
use utoipa::ToSchema;
use uuid::Uuid;

use super::answer::{Answer, Reply, Start, not_modified, start};
use super::body::{BodyReader, merge_patch};
use super::call::{Call, flag};
use crate::problem::Problem;

/// A resource in JSON.
pub(super) trait Wire: Resource {
    /// What a client may send.
    type Body: Serialize;
    /// What a client gets.
    type View: Serialize;
    /// Query parameters of its list beside the common ones, with their meaning.
    const FILTERS: &'static [(&'static str, &'static str)];

    /// Reads the properties; faults go to the reader.
    fn read(body: &mut BodyReader) -> Self;
    /// The properties as a client would send them.
    fn body(&self) -> Self::Body;
    /// The row as a client gets it.
    fn view(record: Record<Self>) -> Self::View;
    /// Takes over what a client cannot write.
    fn keep(self, _current: &Self) -> Self {
        self
    }
}

/// A page of a list.
#[derive(Serialize, ToSchema)]
pub(super) struct PageOf<T: ToSchema> {
    /// The rows.
    pub(super) items: Vec<T>,
    /// The cursor of the next page; null at the end.
    pub(super) next: Option<String>,
}

/// One page, with a `Link` to the next.
pub(super) async fn list<W: Wire>(call: Call) -> Reply
where
    W::View: ToSchema,
{
    let query = ListQuery::parse::<W>(&call.parameters)?;
    let page = call.registry.list::<W>(&query).await?;
    let link = page.next.as_deref().map(|cursor| next_link(&call, cursor));
    let body = PageOf { items: page.records.into_iter().map(W::view).collect(), next: page.next };
    let mut response = Answer::ok(&body)?.into_response();
    if let Some(link) = link.and_then(|link| HeaderValue::from_str(&link).ok()) {
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}

/// Makes a row.
pub(super) async fn create<W: Wire>(call: Call) -> Reply {
    let [] = call.only([])?;
    let (fields, faults) = read_body::<W>(call.json()?);
    let mut write = match start(&call).await? {
        Start::Fresh(write) => write,
        Start::Replayed(response) => return Ok(response),
    };
    write.found(faults);
    let record = write.create(None, fields).await?;
    let location = format!("{}/{}", call.path.trim_end_matches('/'), record.id);
    answer(record)?.created(location).commit(write).await
}

/// One row.
pub(super) async fn read<W: Wire>(id: &str, call: Call) -> Reply {
    let [deleted] = call.only(["deleted"])?;
    let id = known_id::<W>(id)?;
    let record = match deleted {
        None => call.registry.get::<W>(id).await?,
        Some("include") => call.registry.get_with_deleted::<W>(id).await?,
        Some(_) => return Err(Faults::one("?deleted", "bad_value", "must be include").into()),
    };
    conditional(&call, record)
}

/// A row, or 304 if the client has it.
pub(super) fn conditional<W: Wire>(call: &Call, record: Record<W>) -> Reply {
    if call.has(record.rev) {
        return Ok(not_modified(record.rev));
    }
    Ok(answer(record)?.into_response())
}

/// Makes or replaces the row with the client's id.
pub(super) async fn put<W: Wire>(id: &str, call: Call) -> Reply {
    let [] = call.only([])?;
    let Ok(uuid) = id.parse::<Uuid>() else {
        return Err(Faults::one("", "bad_id", "the id in the path must be a UUID").into());
    };
    let id = W::Id::from(uuid);
    let (mut fields, faults) = read_body::<W>(call.json()?);
    let mut write = call.registry.write().await?;
    match write.get::<W>(id).await {
        Ok(current) => fields = fields.keep(&current.fields),
        Err(RegistryError::NotFound { .. }) => {}
        Err(other) => return Err(other.into()),
    }
    write.found(faults);
    let answer = match write.put(id, &call.expected(), fields).await? {
        Put::Created(record) => answer(record)?.created(call.path),
        Put::Updated(record) => answer(record)?,
    };
    answer.commit(write).await
}

/// Changes some properties of a row.
pub(super) async fn patch<W: Wire>(id: &str, call: Call) -> Reply {
    let [] = call.only([])?;
    let id = known_id::<W>(id)?;
    let patch = call.json()?;
    if !patch.is_object() {
        return Err(Faults::one("", "wrong_type", "must be an object").into());
    }
    let mut write = call.registry.write().await?;
    let current = write.get::<W>(id).await?;
    let mut body = serde_json::to_value(current.fields.body())
        .map_err(|error| RegistryError::Corrupt(format!("a row cannot be written as JSON: {error}")))?;
    merge_patch(&mut body, patch);
    let (fields, faults) = read_body::<W>(body);
    write.found(faults);
    let record = write.update(id, &call.expected(), fields.keep(&current.fields)).await?;
    answer(record)?.commit(write).await
}

/// Deletes a row.
pub(super) async fn delete<W: Wire>(id: &str, call: Call) -> Reply {
    let [cascade] = call.only(["cascade"])?;
    let cascade = flag("cascade", cascade)?;
    let mut write = call.registry.write().await?;
    write.delete::<W>(known_id::<W>(id)?, &call.expected(), cascade).await?;
    write.commit().await?;
    Ok(no_content())
}

/// The id of a path; what is no id names nothing.
pub(super) fn known_id<W: Wire>(text: &str) -> Result<W::Id, Problem> {
    match text.parse::<Uuid>() {
        Ok(uuid) => Ok(W::Id::from(uuid)),
        Err(_) => Err(RegistryError::NotFound { kind: W::KIND, key: text.to_owned() }.into()),
    }
}

/// 200 with the row and its revision.
pub(super) fn answer<W: Wire>(record: Record<W>) -> Result<Answer, Problem> {
    let rev = record.rev;
    Ok(Answer::ok(&W::view(record))?.at(rev))
}

/// 204.
pub(super) fn no_content() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

fn read_body<W: Wire>(body: Json) -> (W, Faults) {
    let mut reader = BodyReader::new(body);
    let fields = W::read(&mut reader);
    (fields, reader.finish())
}

/// The same list with the cursor of the next page (RFC 8288).
fn next_link(call: &Call, cursor: &str) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(call.parameters.iter().filter(|(name, _)| name != "cursor"));
    query.append_pair("cursor", cursor);
    format!("<{}?{}>; rel=\"next\"", call.path, query.finish())
}
