//! Whole files in, verdicts out.

#[cfg(test)]
mod archives;
#[cfg(test)]
mod benign;
#[cfg(test)]
mod configs;
#[cfg(test)]
mod containers;
#[cfg(test)]
mod data_files;
#[cfg(test)]
mod formats;
#[cfg(test)]
mod gguf;
#[cfg(test)]
mod keras;
#[cfg(test)]
mod mutations;
#[cfg(test)]
mod pickles;
#[cfg(test)]
mod policies;
#[cfg(test)]
mod sentencepiece;
#[cfg(test)]
mod sevenz;
#[cfg(test)]
mod support;
#[cfg(test)]
mod templates;
#[cfg(test)]
mod tensorflow;
#[cfg(test)]
mod tflite;
#[cfg(test)]
mod trees;
#[cfg(test)]
mod unusual;
