package http1

import "strings"

// smuggling are the tricks by which two readers are made to disagree on where a request ends: the head and what a reader
// would take for its body. None of them may be accepted.
var smuggling = []struct{ name, message string }{
	{"CL.TE", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG"},
	{"TE.CL", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n12\r\nGPOST / HTTP/1.1\r\n\r\n0\r\n\r\n"},
	{"CL.TE with a length of 0", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
	{"CL.CL", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"},
	{"CL.CL of the same length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello"},
	{"a list of lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nhello"},
	{"a length with a plus sign", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello"},
	{"a negative length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n"},
	{"a hexadecimal length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\nhello"},
	{"a length with a fraction", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5.0\r\n\r\nhello"},
	{"a length with an underscore", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1_0\r\n\r\nhellohello"},
	{"a length with a space in it", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1 0\r\n\r\nhellohello"},
	{"an empty length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\nhello"},
	{"a length over 63 bits", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775808\r\n\r\nhello"},
	{"a length over 64 bits", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551621\r\n\r\nhello"},
	{"a space behind the name", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n"},
	{"a tab behind the name", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n"},
	{"a vertical tab behind the name", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\x0b: chunked\r\n\r\n0\r\n\r\n"},
	{"a space before the name", "POST / HTTP/1.1\r\nHost: a\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
	{"a length with a space behind the name", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\nhello"},
	{"xchunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"},
	{"chunkedx", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunkedx\r\n\r\n0\r\n\r\n"},
	{"a vertical tab before chunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"},
	{"a form feed before chunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0cchunked\r\n\r\n0\r\n\r\n"},
	{"a no-break space before chunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \xa0chunked\r\n\r\n0\r\n\r\n"},
	{"NUL behind chunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\x00\r\n\r\n0\r\n\r\n"},
	{"chunked in quotes", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"},
	{"chunked twice in a list", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"},
	{"chunked twice", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
	{"chunked and something else", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-encoding: x\r\n\r\n0\r\n\r\n"},
	{"something else and chunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x\r\nTransfer-encoding: chunked\r\n\r\n0\r\n\r\n"},
	{"chunked before another coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"},
	{"another coding before chunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"},
	{"an empty element before chunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: , chunked\r\n\r\n0\r\n\r\n"},
	{"an empty element behind chunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked,\r\n\r\n0\r\n\r\n"},
	{"a parameter of chunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n"},
	{"identity", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n"},
	{"an empty coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n"},
	{"a folded coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"},
	{"a coding behind a bare LF", "POST / HTTP/1.1\r\nHost: a\r\nX: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
	{"a coding behind a bare CR", "POST / HTTP/1.1\r\nHost: a\r\nX: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
	{"a coding behind NUL", "POST / HTTP/1.1\r\nHost: a\r\nX: y\x00Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
	{"a head that ends with bare LFs", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\n\nhello"},
	{"a head that ends with LF CR LF", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\n\r\nhello"},
	{"chunked in HTTP/1.0", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
	{"Connection: transfer-encoding with a length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nConnection: content-length\r\n\r\nhello"},
	{"a chunk size with 0x", post("0x5\r\nhello\r\n0\r\n\r\n")},
	{"a chunk size with a plus sign", post("+5\r\nhello\r\n0\r\n\r\n")},
	{"a negative chunk size", post("-1\r\nhello\r\n0\r\n\r\n")},
	{"a chunk size with a space before it", post(" 5\r\nhello\r\n0\r\n\r\n")},
	{"a chunk size with a space behind it", post("5 \r\nhello\r\n0\r\n\r\n")},
	{"a chunk size with a space before its extension", post("5 ;a\r\nhello\r\n0\r\n\r\n")},
	{"a chunk size with an underscore", post("0_5\r\nhello\r\n0\r\n\r\n")},
	{"an empty chunk size", post("\r\nhello\r\n0\r\n\r\n")},
	{"a chunk size that is only an extension", post(";a\r\nhello\r\n0\r\n\r\n")},
	{"a chunk size that wraps at 64 bits", post("10000000000000005\r\nhello\r\n0\r\n\r\n")},
	{"a chunk size over 63 bits", post("8000000000000005\r\nhello\r\n0\r\n\r\n")},
	{"a chunk size of 17 digits", post("00000000000000005\r\nhello\r\n0\r\n\r\n")},
	{"LF alone behind a chunk size", post("5\nhello\r\n0\r\n\r\n")},
	{"CR alone behind a chunk size", post("5\rhello\r\n0\r\n\r\n")},
	{"two CRs behind a chunk size", post("5\r\r\nhello\r\n0\r\n\r\n")},
	{"LF alone behind chunk data", post("5\r\nhello\n0\r\n\r\n")},
	{"other bytes behind chunk data", post("5\r\nhelloXX0\r\n\r\n")},
	{"nothing behind chunk data", post("5\r\nhello0\r\n\r\n")},
	{"CR and another byte behind chunk data", post("5\r\nhello\rX0\r\n\r\n")},
	{"LF in an extension", post("5;a\nb\r\nhello\r\n0\r\n\r\n")},
	{"LF alone behind an extension", post("5;a\nhello\r\n0\r\n\r\n")},
	{"CR in an extension", post("5;a\rb\r\nhello\r\n0\r\n\r\n")},
	{"NUL in an extension", post("5;a\x00b\r\nhello\r\n0\r\n\r\n")},
	{"LF in a quoted extension", post("5;a=\"\n\"\r\nhello\r\n0\r\n\r\n")},
	{"CRLF in a quoted extension", post("5;a=\"\r\n\"\r\nhello\r\n0\r\n\r\n")},
	{"an escaped LF in a quoted extension", post("5;a=\"\\\n\"\r\nhello\r\n0\r\n\r\n")},
	{"a quoted extension without its end", post("5;a=\"b\r\nhello\r\n0\r\n\r\n")},
	{"an extension without a name", post("5;\r\nhello\r\n0\r\n\r\n")},
	{"an extension without a value", post("5;a=\r\nhello\r\n0\r\n\r\n")},
	{"an extension with a space at its end", post("5;a \r\nhello\r\n0\r\n\r\n")},
	{"an extension of other characters", post("5;a=(b)\r\nhello\r\n0\r\n\r\n")},
	{"LF alone behind the last chunk", post("0\n\r\n")},
	{"LF alone as the last line", post("0\r\n\n")},
	{"a trailer with a length", post("0\r\nContent-Length: 5\r\n\r\n")},
	{"a trailer with a coding", post("0\r\nTransfer-Encoding: chunked\r\n\r\n")},
	{"a trailer with a host", post("0\r\nHost: b\r\n\r\n")},
	{"a folded trailer", post("0\r\nX: a\r\n b\r\n\r\n")},
	{"a trailer with a space before its colon", post("0\r\nX : a\r\n\r\n")},
	{"a trailer with LF alone", post("0\r\nX: a\n\r\n")},
	{"a request line as a trailer", post("0\r\nGET / HTTP/1.1\r\n\r\n")},
}

// post is a request with a chunked body.
func post(body string) string {
	return "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + body
}

// requestSeeds are whole requests for the fuzz targets.
func requestSeeds() []string {
	seeds := []string{
		wrkPost + strings.Repeat("x", 43), ordinaryPost, browserGet,
		"\r\nGET /a%20b?c=%d HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
		"GET http://a.b:80?c HTTP/1.1\r\nHost: A.b:80\r\nConnection: x, close\r\nX: y\r\nx-user: z\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: [::1]:80\r\nTE: trailers\r\nConnection: te, upgrade\r\nUpgrade: websocket\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 0005\r\nX-Forwarded-For: b\r\nX-Remora-A: c\r\n\r\nhello",
		post("5\r\nhello\r\n0a;a=b;c=\"d\\\"\"\r\n0123456789\r\n00\r\n\r\n"),
		post("1\r\nx\r\n0; a\r\nA: b\r\nx-user: c\r\nexpires: d\r\n\r\n"),
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET /\r\n", "\n", "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: x-user\r\n\r\n",
	}
	for _, s := range smuggling {
		seeds = append(seeds, s.message)
	}
	return seeds
}

// responseSeeds are whole responses for the fuzz targets.
func responseSeeds() []string {
	return []string{
		ordinaryResponse,
		"HTTP/1.1 200\r\n\r\nuntil close",
		"HTTP/1.0 404 Not Found\r\nConnection: keep-alive\r\nContent-Length: 00\r\n\r\n",
		"HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 101 Switching Protocols\r\n\r\n",
		"HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\ncontent-length: 3\r\nConnection: X\r\nX: y\r\n\r\nabc",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: A\r\n\r\n3\r\nabc\r\n0\r\nA: b\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
		"HTTP/1.1 200 OK\nA: b\n\n", "ICY 200 OK\r\n\r\n", "HTTP/1.1 99 X\r\n\r\n",
	}
}
