//! What all descriptions have in common: parameters of lists, conditional headers, error answers.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::openapi::{ContentBuilder, KnownFormat, Ref, RefOr, Required, Response, ResponseBuilder};
use utoipa::{IntoParams, IntoResponses, OpenApi, ToSchema};

use super::crud::Wire;
use crate::problem::{PROBLEM_JSON, Problem};

/// The query parameters of a list of `W`.
pub(super) struct ListParameters<W>(PhantomData<W>);

impl<W: Wire> IntoParams for ListParameters<W> {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let mut parameters = vec![
            query("limit", Type::Integer, "Rows of a page, 1 to 1000, 100 if not given"),
            query("cursor", Type::String, "`next` of the page before; all other parameters must be the same"),
            query("sort", Type::String, "`id` (if not given), `name` or `updated_at`"),
            query("updated_since", Type::String, "Rows that were changed at this time (RFC 3339) or later"),
            query("deleted", Type::String, "`include` shows deleted rows too"),
            query("attr.<name>", Type::String, "Rows whose attribute `<name>` has this value"),
        ];
        let filters = W::FILTERS.iter();
        parameters.extend(filters.map(|(name, meaning)| {
            query(name, Type::String, &format!("{meaning}; given several times, any of the values"))
        }));
        parameters
    }
}

macro_rules! parameters {
    ($($(#[$doc:meta])* $name:ident { $($parameter:expr),+ $(,)? })+) => {$(
        $(#[$doc])*
        pub(super) struct $name;

        impl IntoParams for $name {
            fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
                vec![$($parameter),+]
            }
        }
    )+};
}

parameters! {
    /// `Idempotency-Key`.
    OnceHeader {
        header("Idempotency-Key", "A repeat with the same key within 24 hours gets the first answer again"),
    }
    /// `If-Match` and `If-None-Match` of a change.
    MatchHeaders {
        header("If-Match", "The `ETag` that the row must have, or `*` for any"),
        header("If-None-Match", "`*`: there must be no such row"),
    }
    /// `If-None-Match` of a read.
    NoneMatchHeader {
        header("If-None-Match", "The `ETag` that the client has"),
    }
    /// `deleted` of a read.
    DeletedParameter {
        query("deleted", Type::String, "`include` shows the row if it is deleted too"),
    }
    /// `cascade` of a delete.
    CascadeParameter {
        query("cascade", Type::Boolean, "Whether what is below it is no obstacle"),
    }
}

/// Schemas that answers refer to by name only.
#[derive(OpenApi)]
#[openapi(components(schemas(Problem)))]
pub(super) struct Shared;

/// Any error, as a problem.
pub(super) struct Problems;

impl IntoResponses for Problems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let schema = Ref::from_schema_name(Problem::name());
        let content = ContentBuilder::new().schema(Some(schema)).build();
        let response =
            ResponseBuilder::new().description("An error (RFC 9457)").content(PROBLEM_JSON, content);
        BTreeMap::from([("default".to_owned(), RefOr::T(response.build()))])
    }
}

/// An optional query parameter.
pub(super) fn query(name: &str, of: Type, description: &str) -> Parameter {
    parameter(name, ParameterIn::Query, of, description)
}

fn header(name: &str, description: &str) -> Parameter {
    parameter(name, ParameterIn::Header, Type::String, description)
}

fn parameter(name: &str, place: ParameterIn, of: Type, description: &str) -> Parameter {
    let format = (of == Type::Integer).then_some(SchemaFormat::KnownFormat(KnownFormat::Int64));
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(Required::False)
        .description(Some(description))
        .schema(Some(Schema::Object(ObjectBuilder::new().schema_type(of).format(format).build())))
        .build()
}
