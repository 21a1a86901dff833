# One static binary, no shell, no git: Hoist speaks Git, registries and the
# Kubernetes API by itself.
FROM golang:1.26.8 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /hoist ./cmd/hoist

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /hoist /hoist
USER nonroot:nonroot
EXPOSE 9292 8080
ENTRYPOINT ["/hoist"]
CMD ["run", "-c", "/etc/hoist", "--data-dir", "/var/lib/hoist", "--log-format", "json"]
