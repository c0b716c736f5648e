#!/bin/sh
exec java ${KAFKA_HEAP_OPTS:--Xmx256M} -cp '/opt/kafka/libs/*' org.apache.kafka.tools.ClusterTool "$@"
