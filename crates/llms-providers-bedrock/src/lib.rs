//! Amazon Bedrock Converse and ConverseStream through the AWS SDK, stamped by our transport
