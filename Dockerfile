# An image with the program and nothing else. First: make build (a static binary). Then: docker build -t remora:latest .
FROM scratch
COPY bin/remora /remora
USER 65532:65532
ENTRYPOINT ["/remora"]
