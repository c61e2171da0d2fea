module github.com/millrace-dev/millrace/tools/lint

go 1.26.0
