# An image with the program and nothing else: no shell, no packages, no root. The build's context is a folder that has the program alone:
# make image IMAGE=REGISTRY/remora:TAG
FROM scratch
LABEL org.opencontainers.image.title=remora org.opencontainers.image.licenses=Apache-2.0
COPY remora /remora
USER 65532:65532
ENTRYPOINT ["/remora"]
