package http1

import "github.com/remora-proxy/remora/internal/route"

// AppendChunk appends one chunk with data. It appends nothing for empty data, which would end the body.
func AppendChunk(dst, data []byte) []byte { return dst }

// AppendLastChunk appends the last chunk and the trailer section, and so ends a chunked body.
func AppendLastChunk(dst []byte, trailers []route.Header) []byte { return dst }
