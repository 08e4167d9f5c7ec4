//! The parts of messages as Converse's blocks: texts, images, documents, reasoning, tool calls and their results.
//! Pure; what Converse cannot say is refused by name.

use aws_sdk_bedrockruntime::types::{
    CachePointBlock, CachePointType, CacheTtl as WireTtl, ContentBlock, DocumentBlock, DocumentFormat,
    DocumentSource, ImageBlock, ImageFormat, ImageSource, ReasoningContentBlock, ReasoningTextBlock,
    S3Location, ToolResultBlock, ToolResultContentBlock, ToolResultStatus, ToolUseBlock,
};
use aws_smithy_types::Blob;
use base64::{Engine, engine::general_purpose::STANDARD};
use llms_core::{
    Error, Message, Result, ToolCall,
    chat::{CacheTtl, Content, DocumentData, ImageData, ReasoningBlock},
};

use crate::{document::document, request::refused};

/// The blocks of message `i`; none for a system message. `names` are the documents' so far.
pub(crate) fn blocks(i: usize, message: &Message, names: &mut Vec<String>) -> Result<Vec<ContentBlock>> {
    match message {
        Message::System { .. } => Ok(Vec::new()),
        Message::User { content } => user_blocks(i, content, names),
        Message::Assistant { content, tool_calls, reasoning } => {
            assistant_blocks(i, content, tool_calls, reasoning)
        }
        Message::Tool { call_id, content, is_error, .. } => {
            Ok(vec![tool_result(i, call_id, content, *is_error)?])
        }
    }
}

/// The SDK found a part missing that Converse requires.
pub(crate) fn built(error: &dyn std::error::Error) -> Error {
    refused(format!("expected a request that the SDK can build ({error})"))
}

/// A mark up to which the prompt is cached.
pub(crate) fn cache_point(ttl: CacheTtl) -> Result<CachePointBlock> {
    let ttl = match ttl {
        CacheTtl::Short => None,
        CacheTtl::Long => Some(WireTtl::OneHour),
    };
    CachePointBlock::builder().r#type(CachePointType::Default).set_ttl(ttl).build().map_err(|e| built(&e))
}

fn user_blocks(i: usize, parts: &[Content], names: &mut Vec<String>) -> Result<Vec<ContentBlock>> {
    parts
        .iter()
        .filter(|p| !matches!(p, Content::Text { text } if text.is_empty()))
        .map(|part| match part {
            Content::Text { text } => Ok(ContentBlock::Text(text.clone())),
            Content::Image { data } => image(i, data).map(ContentBlock::Image),
            Content::Document { name, data } => {
                let name = document_name(i, name.as_deref(), names)?;
                file(i, name, data).map(ContentBlock::Document)
            }
            _ => Err(refused(format!("messages[{i}]: expected text, an image or a document"))),
        })
        .collect()
}

fn s3(url: &str) -> Result<S3Location> {
    S3Location::builder().uri(url).build().map_err(|e| built(&e))
}

/// The bytes of an inline file.
fn bytes(i: usize, what: &str, base64: &str) -> Result<Blob> {
    let bytes = STANDARD.decode(base64);
    Ok(Blob::new(bytes.map_err(|e| refused(format!("messages[{i}]: expected {what} in base64 ({e})")))?))
}

/// What stands behind the last dot of an address.
pub(crate) fn extension(url: &str) -> String {
    url.rsplit('.').next().unwrap_or_default().to_lowercase()
}

fn image(i: usize, data: &ImageData) -> Result<ImageBlock> {
    let (format, source) = match data {
        ImageData::Inline { media_type, base64 } => {
            (image_format(i, media_type)?, ImageSource::Bytes(bytes(i, "an image", base64)?))
        }
        ImageData::Url(url) if url.starts_with("s3://") => {
            (image_format(i, &extension(url))?, ImageSource::S3Location(s3(url)?))
        }
        ImageData::Url(_) => return Err(from_the_web(i, "images")),
    };
    ImageBlock::builder().format(ImageFormat::from(format)).source(source).build().map_err(|e| built(&e))
}

/// Bedrock fetches nothing by itself but from S3.
pub(crate) fn from_the_web(i: usize, what: &str) -> Error {
    refused(format!(
        "messages[{i}]: Bedrock fetches no {what} from the web; give the bytes inline, or an s3:// address where the \
         model reads one"
    ))
}

/// Converse's word for a media type or a file's extension.
pub(crate) fn image_format(i: usize, kind: &str) -> Result<&'static str> {
    match kind.strip_prefix("image/").unwrap_or(kind) {
        "png" => Ok("png"),
        "jpeg" | "jpg" => Ok("jpeg"),
        "gif" => Ok("gif"),
        "webp" => Ok("webp"),
        other => Err(refused(format!(
            "messages[{i}]: expected an image of type png, jpeg, gif or webp, found `{other}`"
        ))),
    }
}

fn file(i: usize, name: String, data: &DocumentData) -> Result<DocumentBlock> {
    let (format, source) = match data {
        DocumentData::Inline { media_type, base64 } => {
            (document_format(i, media_type)?, DocumentSource::Bytes(bytes(i, "a document", base64)?))
        }
        DocumentData::Text(text) => (DocumentFormat::Txt, DocumentSource::Text(text.clone())),
        DocumentData::Url(url) if url.starts_with("s3://") => {
            (document_format(i, &extension(url))?, DocumentSource::S3Location(s3(url)?))
        }
        DocumentData::Url(_) => return Err(from_the_web(i, "documents")),
    };
    DocumentBlock::builder().format(format).name(name).source(source).build().map_err(|e| built(&e))
}

fn document_format(i: usize, kind: &str) -> Result<DocumentFormat> {
    const OFFICE: &str = "application/vnd.openxmlformats-officedocument.";
    let kind = kind.split(';').next().unwrap_or(kind).trim();
    Ok(match kind.strip_prefix(OFFICE).unwrap_or(kind) {
        "application/pdf" | "pdf" => DocumentFormat::Pdf,
        "text/csv" | "csv" => DocumentFormat::Csv,
        "application/msword" | "doc" => DocumentFormat::Doc,
        "wordprocessingml.document" | "docx" => DocumentFormat::Docx,
        "application/vnd.ms-excel" | "xls" => DocumentFormat::Xls,
        "spreadsheetml.sheet" | "xlsx" => DocumentFormat::Xlsx,
        "text/html" | "html" => DocumentFormat::Html,
        "text/plain" | "txt" => DocumentFormat::Txt,
        "text/markdown" | "md" => DocumentFormat::Md,
        other => {
            return Err(refused(format!(
                "messages[{i}]: expected a document of type pdf, csv, doc, docx, xls, xlsx, html, txt or md, found \
                 `{other}`"
            )));
        }
    })
}

/// Converse wants a name for every document, no two alike; those without one get `document`, `document 2`, ….
fn document_name(i: usize, name: Option<&str>, names: &mut Vec<String>) -> Result<String> {
    let name = match name {
        Some(name) => {
            let allowed =
                |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '-' | '(' | ')' | '[' | ']');
            if name.is_empty() || !name.chars().all(allowed) || name.contains("  ") {
                return Err(refused(format!(
                    "messages[{i}]: expected a document's name of letters, digits, single spaces, hyphens, \
                     parentheses and square brackets, as Converse demands, found `{name}`"
                )));
            }
            name.to_owned()
        }
        None => match names.len() {
            0 => "document".to_owned(),
            n => format!("document {}", n + 1),
        },
    };
    if names.contains(&name) {
        return Err(refused(format!(
            "messages[{i}]: expected another name for the second document `{name}`"
        )));
    }
    names.push(name.clone());
    Ok(name)
}

fn assistant_blocks(
    i: usize,
    text: &str,
    calls: &[ToolCall],
    reasoning: &[ReasoningBlock],
) -> Result<Vec<ContentBlock>> {
    let mut blocks = Vec::with_capacity(reasoning.len() + calls.len() + 1);
    for (k, block) in reasoning.iter().enumerate() {
        blocks
            .push(ContentBlock::ReasoningContent(thought(&format!("messages[{i}].reasoning[{k}]"), block)?));
    }
    if !text.is_empty() {
        blocks.push(ContentBlock::Text(text.to_owned()));
    }
    for (k, call) in calls.iter().enumerate() {
        let arguments = call.parse_arguments().map_err(|e| {
            refused(format!(
                "messages[{i}].tool_calls[{k}].arguments: expected JSON, which Converse requires ({e})"
            ))
        })?;
        let block = ToolUseBlock::builder()
            .tool_use_id(&call.id)
            .name(&call.name)
            .input(document(&arguments))
            .build()
            .map_err(|e| built(&e))?;
        blocks.push(ContentBlock::ToolUse(block));
    }
    Ok(blocks)
}

fn thought(field: &str, block: &ReasoningBlock) -> Result<ReasoningContentBlock> {
    if block.id.is_some() {
        return Err(refused(format!("{field}.id: expected none; this reasoning is another vendor's")));
    }
    match &block.encrypted {
        Some(base64) => {
            let bytes = STANDARD
                .decode(base64)
                .map_err(|e| refused(format!("{field}.encrypted: expected base64 ({e})")))?;
            Ok(ReasoningContentBlock::RedactedContent(Blob::new(bytes)))
        }
        None => ReasoningTextBlock::builder()
            .text(&block.text)
            .set_signature(block.signature.clone())
            .build()
            .map(ReasoningContentBlock::ReasoningText)
            .map_err(|e| built(&e)),
    }
}

fn tool_result(i: usize, call_id: &str, content: &str, is_error: bool) -> Result<ContentBlock> {
    if call_id.is_empty() {
        return Err(refused(format!("messages[{i}].call_id: expected the id of the call that is answered")));
    }
    // Only some models take a status, so it is sent only when it says something.
    let block = ToolResultBlock::builder()
        .tool_use_id(call_id)
        .content(ToolResultContentBlock::Text(content.to_owned()))
        .set_status(is_error.then_some(ToolResultStatus::Error))
        .build()
        .map_err(|e| built(&e))?;
    Ok(ContentBlock::ToolResult(block))
}
