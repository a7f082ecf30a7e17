// Package wire reads and writes the messages of envoy.service.ext_proc.v3 that an external processor and Envoy exchange for each request,
// in protobuf's wire format, without a byte of garbage: the types that protoc generates for them cost a request more than its
// decision. It knows the fields that Remora looks at or sets, by their numbers in Envoy's external_processor.proto; others are skipped when
// they are read. What a message means is none of its business.
//
//	request.go   ProcessingRequest, read into a struct that is used again; what it holds aliases the message
//	values.go    the attributes and the metadata of a request, read where somebody asks for one
//	response.go  ProcessingResponse, appended to a buffer
//
// The generated types are the oracle of its tests.
package wire
