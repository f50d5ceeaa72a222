//! The messages of `TensorFlow` that a graph can hide an operator or a file name in, by field.

/// Messages that are walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    SavedModel,
    MetaGraph,
    Graph,
    Library,
    Function,
    Node,
    AttrEntry,
    Attr,
    AttrList,
    Func,
    Tensor,
    Saver,
    SignatureEntry,
    Signature,
    TensorEntry,
    TensorInfo,
    AssetFile,
    ObjectGraph,
    Object,
    UserObject,
    OpDef,
}

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    /// A number; packed numbers come as bytes.
    Int,
    F32,
    Text,
    /// A name that a node gives to its operator or to a function.
    Bytes,
    Message(Kind),
    /// A message without operators, which is only measured.
    Opaque,
}

/// Field by message and number. What is not here is refused.
#[expect(clippy::match_same_arms, reason = "one line per message and field, in the order of the schema")]
pub(super) fn field(kind: Kind, number: u64) -> Option<Field> {
    use Field as F;
    use Kind as K;
    Some(match (kind, number) {
        (K::SavedModel, 1) => F::Int,
        (K::SavedModel, 2) => F::Message(K::MetaGraph),
        (K::MetaGraph, 1 | 4) => F::Opaque,
        (K::MetaGraph, 2) => F::Message(K::Graph),
        (K::MetaGraph, 3) => F::Message(K::Saver),
        (K::MetaGraph, 5) => F::Message(K::SignatureEntry),
        (K::MetaGraph, 6) => F::Message(K::AssetFile),
        (K::MetaGraph, 7) => F::Message(K::ObjectGraph),
        (K::Graph, 1) => F::Message(K::Node),
        (K::Graph, 2) => F::Message(K::Library),
        (K::Graph, 3) => F::Int,
        (K::Graph, 4 | 5) => F::Opaque,
        (K::Library, 1) => F::Message(K::Function),
        (K::Library, 2 | 3) => F::Opaque,
        (K::Function, 1) => F::Message(K::OpDef),
        (K::Function, 3) => F::Message(K::Node),
        (K::Function, 5) => F::Message(K::AttrEntry),
        (K::Function, 2 | 4 | 6 | 7 | 8) => F::Opaque,
        (K::OpDef, 1) => F::Text,
        (K::OpDef, 2 | 3 | 4 | 8 | 20 | 21) => F::Opaque,
        (K::OpDef, 5 | 6) => F::Text,
        (K::OpDef, 16..=19) => F::Int,
        (K::Node, 1..=4) => F::Text,
        (K::Node, 5) => F::Message(K::AttrEntry),
        (K::Node, 6 | 7) => F::Opaque,
        (K::AttrEntry, 1) => F::Text,
        (K::AttrEntry, 2) => F::Message(K::Attr),
        (K::Attr, 1) => F::Message(K::AttrList),
        (K::Attr, 2) => F::Bytes,
        (K::Attr, 3 | 5 | 6) => F::Int,
        (K::Attr, 4) => F::F32,
        (K::Attr, 7) => F::Opaque,
        (K::Attr, 8) => F::Message(K::Tensor),
        (K::Attr, 9) => F::Text,
        (K::Attr, 10) => F::Message(K::Func),
        (K::AttrList, 2 | 4) => F::Bytes,
        (K::AttrList, 3 | 5 | 6) => F::Int,
        (K::AttrList, 7) => F::Opaque,
        (K::AttrList, 8) => F::Message(K::Tensor),
        (K::AttrList, 9) => F::Message(K::Func),
        (K::Func, 1) => F::Text,
        (K::Func, 2) => F::Message(K::AttrEntry),
        _ => return other_field(kind, number),
    })
}

#[expect(clippy::match_same_arms, reason = "one line per message and field, in the order of the schema")]
fn other_field(kind: Kind, number: u64) -> Option<Field> {
    use Field as F;
    use Kind as K;
    Some(match (kind, number) {
        (K::Tensor, 1 | 3 | 7 | 10 | 11 | 13 | 16 | 17) => F::Int,
        (K::Tensor, 2) => F::Opaque,
        (K::Tensor, 4 | 5 | 6 | 8 | 9 | 12 | 18) => F::Bytes,
        (K::Saver, 1..=3) => F::Text,
        (K::Saver, 4 | 5 | 7) => F::Int,
        (K::Saver, 6) => F::F32,
        (K::SignatureEntry, 1) => F::Text,
        (K::SignatureEntry, 2) => F::Message(K::Signature),
        (K::Signature, 1 | 2 | 4) => F::Message(K::TensorEntry),
        (K::Signature, 3) => F::Text,
        (K::TensorEntry, 1) => F::Text,
        (K::TensorEntry, 2) => F::Message(K::TensorInfo),
        (K::TensorInfo, 1) => F::Text,
        (K::TensorInfo, 2) => F::Int,
        (K::TensorInfo, 3..=5) => F::Opaque,
        (K::AssetFile, 1) => F::Message(K::TensorInfo),
        (K::AssetFile, 2) => F::Text,
        (K::ObjectGraph, 1) => F::Message(K::Object),
        (K::ObjectGraph, 2) => F::Opaque,
        (K::Object, 4) => F::Message(K::UserObject),
        (K::Object, 1 | 2 | 3 | 5..=12 | 14 | 15) => F::Opaque,
        (K::Object, 13 | 16) => F::Text,
        (K::UserObject, 1 | 3) => F::Text,
        (K::UserObject, 2) => F::Opaque,
        _ => return None,
    })
}
